"""Encoders: parameter counts, map sizes, layouts, overrides."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from hadamax.networks import ENCODERS, Conv, Dense, EncoderSpec, Norm, QNetwork, Residual, build_encoder
from hadamax.networks.blocks import ConvBlock


def parameters(encoder: str | EncoderSpec, shape: tuple[int, ...] = (4, 84, 84), **overrides: Any) -> int:
    network = QNetwork(build_encoder(encoder, shape, **overrides), 6)
    return sum(parameter.numel() for parameter in network.parameters())


def conv(channels_in: int, channels: int, kernel: int) -> int:
    return channels_in * channels * kernel**2 + channels


IMPALA_STAGES = [(4, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
IMPALA = sum(conv(i, o, 3) + 4 * conv(o, o, 3) for i, o in IMPALA_STAGES) + conv(64 * 9, 256, 1) + conv(256, 6, 1)
DEEP_STAGES = [(4, 32), (32, 48), (48, 64), (64, 64), (64, 64)]
DEEP = sum(2 * (9 * i * o + 2 * o) for i, o in DEEP_STAGES) + conv(64 * 49, 512, 1) + 1024 + conv(512, 6, 1)
LIGHT_BLOCKS = [(4, 16, 8), (16, 32, 4), (32, 32, 3)]
LIGHT = (
    sum(2 * (conv(*sizes) + 2 * sizes[1]) for sizes in LIGHT_BLOCKS) + conv(32 * 121, 512, 1) + 1024 + conv(512, 6, 1)
)
EXTRA_BLOCK = 2 * (conv(64, 64, 3) + 128)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nature", 1_687_206),
        ("nature-norm", 1_688_550),  # published
        ("hadamax", 4_126_150),  # published
        (
            "hadamax-c51",
            4_126_150 - 2 * (2 * 32 + 2 * 64 + 2 * 64) - 2 * 512,
        ),  # the same without affine norms
        ("hadamax-fast", 4_126_150),
        ("hadamax-light", LIGHT),
        ("hadamax-deep", DEEP),
        ("impala", IMPALA),
        ("hadamax-no-gelu", 4_126_150),
        ("hadamax-no-product", 4_126_150 - (8224 + 64) - (32832 + 128) - (36928 + 128)),
        ("hadamax-no-pool", 4_126_150),
        ("hadamax-average-pool", 4_126_150),
        ("hadamax-5", 4_126_150 + 2 * EXTRA_BLOCK),
        ("hadamax-7", 4_126_150 + 4 * EXTRA_BLOCK),
    ],
)
def test_parameter_counts(name: str, expected: int) -> None:
    assert parameters(name) == expected


def test_parameter_counts_of_small_encoders() -> None:
    minatar = conv(4, 16, 3) + 32 + conv(16 * 64, 128, 1) + 256 + conv(128, 6, 1)
    assert parameters("minatar", (4, 10, 10)) == minatar
    product = 2 * (conv(4, 16, 3) + 32) + conv(16 * 100, 128, 1) + 256 + conv(128, 6, 1)
    for name in ("hadamax-minatar", "hadamax-minatar-no-pool", "hadamax-minatar-average-pool"):
        assert parameters(name, (4, 10, 10)) == product
    assert parameters("mlp", (8,)) == conv(8, 128, 1) + conv(128, 128, 1) + conv(128, 6, 1)


def test_parameter_counts_of_hr_table_3() -> None:
    nature = ENCODERS["nature"]
    dense = (Dense(512, "tanh", branches=2, norm=Norm("channels", True, 1e-5)),)
    blocks = tuple(replace(block, activation="tanh", branches=2) for block in nature.blocks if isinstance(block, Conv))
    assert parameters(replace(nature, blocks=blocks, dense=dense)) == 3_373_382
    crelu = replace(nature, blocks=(*nature.blocks[:2], replace(nature.blocks[2], activation="crelu")))
    assert parameters(crelu) == 3_292_838
    # The paper has 6,717,376 for its "width x2", which doubling every width does not give.
    assert parameters("nature", width=2) == 6_724_934


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("nature", [20, 9, 7]),
        ("hadamax", [21, 11, 11]),
        ("hadamax-c51", [21, 11, 11]),
        ("hadamax-fast", [21, 11, 11]),
        ("hadamax-light", [21, 11, 11]),
        ("hadamax-deep", [42, 21, 19, 9, 7]),
        ("hadamax-no-pool", [21, 11, 11]),
        ("impala", [42, 21, 11, 6, 3, 3]),
    ],
)
def test_feature_map_sizes(name: str, sizes: list[int]) -> None:
    encoder = build_encoder(name, width=0.05)
    x = torch.rand(1, 4, 84, 84)
    for block, size in zip(encoder.blocks, sizes, strict=True):
        x = block(x)
        assert x.shape[2:] == (size, size)


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (84, 100)])
@pytest.mark.parametrize("name", [name for name, spec in ENCODERS.items() if spec.blocks])
def test_other_observation_sizes(name: str, size: tuple[int, int]) -> None:
    encoder = build_encoder(name, (3, *size), width=0.05, features=7)
    assert encoder(torch.zeros(2, 3, *size, dtype=torch.uint8)).shape == (2, 7)


def test_maps_are_channels_last_and_flatten_copies_nothing() -> None:
    encoder = build_encoder("hadamax", width=0.1)
    maps = encoder.blocks(encoder._scale(torch.zeros(2, 4, 84, 84, dtype=torch.uint8)))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert encoder._flatten(maps).data_ptr() == maps.data_ptr()


def test_flatten_orders() -> None:
    pixels = EncoderSpec("", "", blocks=(Conv(2, 1, activation="identity"),), dense=())
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    for order, expected in (("chw", [1, 2, 3, 4, 10, 20, 30, 40]), ("hwc", [1, 10, 2, 20, 3, 30, 4, 40])):
        encoder = build_encoder(replace(pixels, flatten=order), (1, 2, 2), 1.0)
        encoder.load_state_dict(
            {
                "blocks.0.layer.weight": torch.tensor([1.0, 10]).view(2, 1, 1, 1),
                "blocks.0.layer.bias": torch.zeros(2),
            }
        )
        assert encoder(x).tolist() == [expected]


def test_bytes_are_scaled_and_floats_are_not() -> None:
    encoder = build_encoder("nature", width=0.1)
    observations = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    floats = observations.float()
    kept = floats.clone()
    torch.testing.assert_close(encoder(observations), encoder(floats), rtol=0, atol=0)
    assert torch.equal(floats, kept)
    twin = build_encoder("nature", input_scale=1.0, width=0.1)
    twin.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(twin(floats / 255), encoder(observations))
    laid_out = floats.to(memory_format=torch.channels_last)
    torch.testing.assert_close(encoder(laid_out), encoder(observations))
    assert torch.equal(laid_out, kept)


def test_overrides_of_all_hidden_layers() -> None:
    norm = Norm("channels", True, 1e-5)
    spec = build_encoder("nature", activation="silu", branches=3, combine="sum", norm=norm, width=0.5).spec
    assert [block.channels for block in spec.blocks if isinstance(block, Conv)] == [16, 32, 32]
    assert [layer.features for layer in spec.dense] == [256]
    for layer in (*spec.blocks, *spec.dense):
        assert isinstance(layer, Conv | Dense)
        assert (layer.activation, layer.branches, layer.combine, layer.norm) == ("silu", 3, "sum", norm)


def test_overrides_of_the_last_layer_keep_the_others() -> None:
    spec = build_encoder("nature", activation=("tanh", "sigmoid"), branches=2, layers="last", features=1024).spec
    assert spec.blocks == ENCODERS["nature"].blocks
    assert spec.dense == (Dense(1024, ("tanh", "sigmoid"), branches=2),)


def test_norm_is_kept_unless_overridden() -> None:
    assert build_encoder("hadamax", norm=None).spec.dense[0].norm is None
    assert build_encoder("hadamax", activation="tanh").spec.dense[0].norm == "channels"


def test_branches_are_inside_residual_blocks() -> None:
    encoder = build_encoder("impala", activation="tanh", branches=2, norm="channels", width=0.1)
    stage = encoder.spec.blocks[0]
    assert isinstance(stage, Residual)
    assert (stage.outer_activation, stage.activation, stage.branches) == ("tanh", "tanh", 2)
    layers = {name: m.layer.branches for name, m in encoder.blocks[0].named_modules() if isinstance(m, ConvBlock)}
    assert layers == {
        "entry": 1,
        "residuals.0.hidden": 2,
        "residuals.0.linear": 1,
        "residuals.1.hidden": 2,
        "residuals.1.linear": 1,
    }
    mixed = build_encoder("impala", activation=("tanh", "sigmoid"), branches=2, width=0.1).spec.blocks
    assert isinstance(mixed[0], Residual)
    assert (mixed[0].outer_activation, mixed[0].activation) == ("relu", ("tanh", "sigmoid"))


def test_initialisers_of_a_spec_reach_their_layers() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("hadamax")
    parameters = dict(encoder.named_parameters())
    assert parameters["blocks.1.layer.weight"].var().item() == pytest.approx(2 / (16 * (32 + 64)), rel=0.05)
    assert parameters["dense.0.weight"].var().item() == pytest.approx(2 / 7744, rel=0.01)
    assert not parameters["blocks.1.layer.bias"].any()
    assert not parameters["dense.0.bias"].any()


def test_state_dict_and_deepcopy() -> None:
    encoder, other = (build_encoder("hadamax-c51", width=0.1, activation="rational") for _ in range(2))
    observations = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    assert not torch.equal(encoder(observations), other(observations))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(observations), other(observations))
    assert torch.equal(encoder(observations), copy.deepcopy(encoder)(observations))


def test_weights_may_be_replaced_by_plain_tensors() -> None:
    """TorchRL does so with target networks; the module then has no parameters."""
    encoder = build_encoder("minatar", (4, 10, 10))
    observations = torch.randint(0, 256, (2, 4, 10, 10), dtype=torch.uint8)
    expected = encoder(observations).detach()
    for module in encoder.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            setattr(module, name, parameter.detach())
    assert not list(encoder.parameters())
    assert torch.equal(encoder(observations), expected)
    assert torch.equal(encoder(observations.float()), expected)
