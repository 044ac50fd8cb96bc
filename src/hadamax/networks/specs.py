"""An encoder as data (blocks, then dense layers), and `override`, which returns a variant of it.

Every dataclass is frozen and compares by value.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from hadamax.networks.activations import ActivationSetting
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.names import IntOrPair, above_zero, lookup, whole
from hadamax.networks.norms import NormSetting
from hadamax.networks.windows import PaddingSetting, Pool


@dataclass(frozen=True)
class Conv:
    """A (Hadamard) convolution: branches -> norm -> activation -> combine -> pool."""

    channels: int
    kernel: IntOrPair
    stride: IntOrPair = 1
    padding: PaddingSetting = "valid"
    activation: ActivationSetting = "relu"
    branches: int = 1
    combine: str = "product"
    norm: NormSetting = None
    pool: Pool | None = None
    bias: bool = True


@dataclass(frozen=True)
class Residual:
    """An Impala stage (arXiv 1802.01561): linear convolution -> pool -> residual blocks, all SAME.

    A block is input + (outer activation -> hidden convolution -> linear convolution). `branches`, `combine`, `norm` and
    `activation` belong to the hidden convolution.
    """

    channels: int
    kernel: IntOrPair = 3
    blocks: int = 2
    pool: Pool | None = Pool(window=3, stride=2)  # noqa: RUF009 - frozen, so shared safely
    outer_activation: str = "relu"
    activation: ActivationSetting = "relu"
    branches: int = 1
    combine: str = "product"
    norm: NormSetting = None
    bias: bool = True


@dataclass(frozen=True)
class Activate:
    """An activation by itself, between blocks."""

    activation: str


@dataclass(frozen=True)
class Dense:
    """A (Hadamard) dense layer: branches -> norm -> activation -> combine."""

    features: int
    activation: ActivationSetting = "relu"
    branches: int = 1
    combine: str = "product"
    norm: NormSetting = None
    bias: bool = True


Block = Conv | Residual | Activate
Layer = Block | Dense


@dataclass(frozen=True)
class EncoderSpec:
    """Blocks over [C, H, W], a flatten in the order "hwc" or "chw", dense layers, and initialisers.

    `head_initialiser` is for the layer that the caller puts on top. Without blocks, observations are vectors.
    """

    description: str
    source: str
    blocks: tuple[Block, ...]
    dense: tuple[Dense, ...]
    flatten: str = "chw"
    conv_initialiser: InitialiserSetting = "torch"
    dense_initialiser: InitialiserSetting = "torch"
    head_initialiser: InitialiserSetting = "torch"

    def __post_init__(self) -> None:
        for block in self.blocks:
            if not isinstance(block, Block):
                raise TypeError(f"a block must be a Conv, a Residual or an Activate, not {block!r}")
        for layer in self.dense:
            if not isinstance(layer, Dense):
                raise TypeError(f"a dense layer must be a Dense, not {layer!r}")


class Unset(Enum):
    """Marks a norm that is left unchanged, unlike None, which means no norm."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
# Number of hidden layers that an override changes, counted from the first and from the last.
LAYERS: dict[str, slice] = {"all": slice(None), "last": slice(-1, None)}


def override(
    spec: EncoderSpec,
    *,
    activation: ActivationSetting | None = None,
    branches: int | None = None,
    combine: str | None = None,
    norm: NormSetting | Unset = UNSET,
    layers: str = "all",
    width: float = 1.0,
    features: int | None = None,
) -> EncoderSpec:
    """Return `spec` with changed hidden layers; settings that are None (for `norm`: UNSET) stay as they are.

    `activation`, `branches`, `combine` and `norm` change all hidden layers, including dense ones, or only the last,
    where DQN and PPO have their Hadamard layer (arXiv 2406.09079, appendix D.1). In a `Residual` they change the hidden
    convolution. Activations without branches, there and in `Activate`, change only if a single name is given. `width`
    multiplies every channel and feature count; `features` then sets the width of the last hidden layer exactly. Raises
    ValueError naming the setting.
    """
    chosen = lookup("layers", layers, LAYERS)
    width = above_zero("width", width)
    given = {"activation": activation, "branches": branches, "combine": combine}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if norm is not UNSET:
        changes["norm"] = norm
    hidden: list[Layer] = [*spec.blocks, *spec.dense]
    hidden[chosen] = [_change(layer, changes) for layer in hidden[chosen]]
    hidden = [_widen(layer, width) for layer in hidden]
    if features is not None:
        if not hidden or not isinstance(hidden[-1], Dense):
            raise ValueError(f"features {features} needs a dense last layer, and this encoder has none")
        hidden[-1] = replace(hidden[-1], features=whole("features", features))
    blocks = tuple(layer for layer in hidden if not isinstance(layer, Dense))
    return replace(spec, blocks=blocks, dense=tuple(layer for layer in hidden if isinstance(layer, Dense)))


def _change(layer: Layer, changes: dict[str, Any]) -> Layer:
    single = changes.get("activation")
    outer = single if isinstance(single, str) else None
    if isinstance(layer, Activate):
        return layer if outer is None else Activate(outer)
    if isinstance(layer, Residual) and outer is not None:
        return replace(layer, outer_activation=outer, **changes)
    return replace(layer, **changes)


def _widen(layer: Layer, width: float) -> Layer:
    if isinstance(layer, Activate):
        return layer
    if isinstance(layer, Dense):
        return replace(layer, features=max(1, round(layer.features * width)))
    return replace(layer, channels=max(1, round(layer.channels * width)))
