"""The named encoders, as data. To add one: an entry in `ENCODERS` and a line in its test (docs/add-encoder.md)."""

from dataclasses import replace

from hadamax.networks.norms import Norm
from hadamax.networks.specs import Activate, Conv, Dense, EncoderSpec, Residual, override
from hadamax.networks.windows import Pool

_PQN = "Gallici et al. 2024, arXiv 2407.04811"
_HADAMAX = "arXiv 2505.15345"
_ABLATION = f"{_HADAMAX}, ablations"
_NOT_FROM_A_PAPER = "not from a paper"


def _product(channels: int, kernel: int, pool: Pool, stride: int = 1) -> Conv:
    """A block of the Hadamax encoder as in its PQN code."""
    return Conv(channels, kernel, stride, "same", "gelu_tanh", branches=2, norm="channels", pool=pool)


def _deep(channels: int, pool: Pool) -> Conv:
    """A block of the deeper 3x3 encoder: its norm has PyTorch's epsilon, its convolution no bias."""
    norm = Norm(over="channels", affine=True, eps=1e-5)
    return Conv(channels, 3, 1, 1, "gelu", branches=2, norm=norm, pool=pool, bias=False)


def _c51(channels: int, kernel: int, pool: Pool) -> Conv:
    """A block of the Hadamax encoder as in its C51 code."""
    return Conv(channels, kernel, 1, "half", "gelu", branches=2, norm="map", pool=pool)


_NATURE = EncoderSpec(
    description="three strided convolutions and a dense layer of 512, ReLU",
    source="Mnih et al. 2015, Nature 518; as in CleanRL",
    blocks=(Conv(32, 8, 4), Conv(64, 4, 2), Conv(64, 3, 1)),
    dense=(Dense(512),),
)

_HADAMAX_PQN = EncoderSpec(
    description="three product blocks, each normalised, GELU and max-pooled; dense 512",
    source=f"{_HADAMAX}, PQN code (JAX)",
    blocks=(_product(32, 8, Pool(4, 4)), _product(64, 4, Pool(2, 2)), _product(64, 3, Pool(3, 1))),
    dense=(Dense(512, "gelu_tanh", norm="channels"),),
    flatten="hwc",
    conv_initialiser="xavier_normal",
    dense_initialiser="he_normal",
    head_initialiser="lecun_normal",
)

_EXTRA_BLOCKS = (_product(64, 3, Pool(3, 1)), _product(64, 3, Pool(3, 1)))

ENCODERS: dict[str, EncoderSpec] = {
    "nature": _NATURE,
    "nature-norm": replace(
        override(_NATURE, norm="channels"),
        description="the PQN baseline: nature with a norm over channels after each layer",
        source=_PQN,
        flatten="hwc",
        conv_initialiser="he_normal",
        dense_initialiser="he_normal",
        head_initialiser="lecun_normal",
    ),
    "hadamax": _HADAMAX_PQN,
    "hadamax-c51": EncoderSpec(
        description="hadamax as in the C51 code: norm over the map, exact GELU, symmetric padding",
        source=f"{_HADAMAX}, C51 code (PyTorch)",
        blocks=(
            _c51(32, 8, Pool(4, 4, "valid")),
            _c51(64, 4, Pool(2, 2, "valid")),
            _c51(64, 3, Pool(3, 1, 1)),
        ),
        dense=(Dense(512, "gelu", norm="map"),),
    ),
    "hadamax-fast": replace(
        _HADAMAX_PQN,
        description="hadamax with under half the multiply-accumulates: first convolution of stride 2, pooled 2x2",
        source=_NOT_FROM_A_PAPER,
        blocks=(_product(32, 8, Pool(2, 2), stride=2), *_HADAMAX_PQN.blocks[1:]),
    ),
    "hadamax-light": replace(
        _HADAMAX_PQN,
        description="hadamax-fast with half the channels: 6x fewer multiply-accumulates than hadamax",
        source=_NOT_FROM_A_PAPER,
        blocks=(_product(16, 8, Pool(2, 2), stride=2), _product(32, 4, Pool(2, 2)), _product(32, 3, Pool(3, 1))),
    ),
    "hadamax-deep": EncoderSpec(
        description="five product blocks of 3x3 kernels; initialisers and flatten order are our interpretation",
        source="arXiv 2608.07335",
        blocks=(
            _deep(32, Pool(2, 2, "valid")),
            _deep(48, Pool(2, 2, "valid")),
            _deep(64, Pool(3, 1, "valid")),
            _deep(64, Pool(2, 2, "valid")),
            _deep(64, Pool(3, 1, "valid")),
        ),
        dense=(Dense(512, "gelu", norm=Norm(over="channels", affine=True, eps=1e-5)),),
    ),
    "impala": EncoderSpec(
        description="the PQN residual baseline: five Impala stages (ResNet-15), dense 256",
        source=f"Espeholt et al. 2018, arXiv 1802.01561; {_PQN}",
        blocks=(*(Residual(channels) for channels in (16, 32, 32, 64, 64)), Activate("relu")),
        dense=(Dense(256),),
        flatten="hwc",
        conv_initialiser="lecun_normal",
        dense_initialiser="lecun_normal",
        head_initialiser="lecun_normal",
    ),
    "minatar": EncoderSpec(
        description="for 10x10 frames: one convolution of 16 channels and dense 128, normalised",
        source=f"Young and Tian 2019, arXiv 1903.03176; {_PQN}",
        blocks=(Conv(16, 3, norm="channels"),),
        dense=(Dense(128, norm="channels"),),
        flatten="hwc",
        conv_initialiser="he_normal",
        dense_initialiser="he_normal",
        head_initialiser="lecun_normal",
    ),
    "hadamax-minatar": replace(
        _HADAMAX_PQN,
        description="for 10x10 frames: minatar's widths, its convolution a product block, max-pooled",
        source=_NOT_FROM_A_PAPER,
        blocks=(_product(16, 3, Pool(3, 1)),),
        dense=(Dense(128, "gelu_tanh", norm="channels"),),
    ),
    "hadamax-minatar-no-pool": replace(
        _HADAMAX_PQN,
        description="hadamax-minatar without its pool, whose stride is 1",
        source=_NOT_FROM_A_PAPER,
        blocks=(replace(_product(16, 3, Pool(3, 1)), pool=None),),
        dense=(Dense(128, "gelu_tanh", norm="channels"),),
    ),
    "hadamax-minatar-average-pool": replace(
        _HADAMAX_PQN,
        description="hadamax-minatar with an average pool",
        source=_NOT_FROM_A_PAPER,
        blocks=(_product(16, 3, Pool(3, 1, kind="average")),),
        dense=(Dense(128, "gelu_tanh", norm="channels"),),
    ),
    "hadamax-no-gelu": replace(
        override(_HADAMAX_PQN, activation="relu"),
        description="hadamax with ReLU in place of GELU",
        source=_ABLATION,
    ),
    "hadamax-no-product": replace(
        override(_HADAMAX_PQN, branches=1),
        description="hadamax with one branch in every block",
        source=_ABLATION,
    ),
    "hadamax-no-pool": replace(
        _HADAMAX_PQN,
        description="hadamax with strides of 4, 2 and 1 in place of its pools",
        source=_ABLATION,
        blocks=tuple(
            replace(block, stride=block.pool.stride, pool=None)
            for block in _HADAMAX_PQN.blocks
            if isinstance(block, Conv) and block.pool is not None
        ),
    ),
    "hadamax-average-pool": replace(
        _HADAMAX_PQN,
        description="hadamax with average pools",
        source=_ABLATION,
        blocks=tuple(
            replace(block, pool=replace(block.pool, kind="average"))
            for block in _HADAMAX_PQN.blocks
            if isinstance(block, Conv) and block.pool is not None
        ),
    ),
    "hadamax-5": replace(
        _HADAMAX_PQN,
        description="hadamax with two blocks more (64 channels, 3x3, pool 3 stride 1: our interpretation)",
        source=f"{_HADAMAX}, depth",
        blocks=_HADAMAX_PQN.blocks + _EXTRA_BLOCKS,
    ),
    "hadamax-7": replace(
        _HADAMAX_PQN,
        description="hadamax with four blocks more (64 channels, 3x3, pool 3 stride 1: our interpretation)",
        source=f"{_HADAMAX}, depth",
        blocks=_HADAMAX_PQN.blocks + 2 * _EXTRA_BLOCKS,
    ),
    "mlp": EncoderSpec(
        description="for vectors: two dense layers of 128, ReLU",
        source=_NOT_FROM_A_PAPER,
        blocks=(),
        dense=(Dense(128), Dense(128)),
    ),
}
