"""Build an encoder module from its name or its data.

build_encoder("hadamax")                                                # [B, 4, 84, 84] -> [B, 512]
build_encoder("nature", activation="tanh", branches=2, layers="last")   # the Hadamard representation for DQN
build_encoder("minatar", observation_shape=(4, 10, 10), input_scale=1.0)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hadamax.kernels.dispatch import is_transformed
from hadamax.networks.activations import ActivationSetting
from hadamax.networks.blocks import Stack, make_block
from hadamax.networks.hadamard import HadamardConv2d, HadamardLinear
from hadamax.networks.initialisers import InitialiserSetting, resolve_initialiser
from hadamax.networks.named_encoders import ENCODERS
from hadamax.networks.names import above_zero, lookup, whole
from hadamax.networks.norms import NormSetting
from hadamax.networks.observed import cached_parametrization
from hadamax.networks.specs import UNSET, EncoderSpec, Unset, override


def flatten_hwc(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H * W * C], without a copy where x is channels-last."""
    return x.movedim(1, -1).flatten(1)


def flatten_chw(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C * H * W]."""
    return x.flatten(1)


FLATTENS: dict[str, Callable[[Tensor], Tensor]] = {"hwc": flatten_hwc, "chw": flatten_chw}


@contextmanager
def _within(place: str) -> Iterator[None]:
    """Prefix an error with the layer that could not be built."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{place}: {error}") from None


class Encoder(nn.Module):
    """uint8 or float [B, *observation_shape], divided by `input_scale` -> float [B, features].

    `features` is the output width, `head_initialiser` the initialiser for the layer on top. Computes in the parameters'
    dtype, or autocast's. Raises TypeError for other dtypes and ValueError for other shapes.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        observation_shape: Sequence[int],
        input_scale: float = 255.0,
        name: str = "encoder",
    ) -> None:
        super().__init__()
        self.spec, self.input_scale = spec, above_zero("input_scale", input_scale)
        self.observation_shape = _checked_shape(spec, observation_shape, name)
        self.head_initialiser = resolve_initialiser(spec.head_initialiser)
        self._flatten = lookup("flatten", spec.flatten, FLATTENS)
        self.features = math.prod(self._add_blocks(name))
        self._add_dense(name)

    def _add_blocks(self, name: str) -> tuple[int, ...]:
        """Build `self.blocks` and return the shape of their output."""
        self.blocks = Stack()
        shape = self.observation_shape
        for number, spec in enumerate(self.spec.blocks, start=1):
            channels, *size = shape
            with _within(f'encoder "{name}", block {number}'):
                block = make_block(spec, channels, self.spec.conv_initialiser)
                shape = (block.out_channels, *block.output_size(*size))
                if min(shape) < 1:
                    raise ValueError(
                        f"its {size[0]}x{size[1]} input is too small for its kernel or its pool; "
                        f"observation_shape {self.observation_shape} must be larger for this encoder"
                    )
            self.blocks.append(block)
        return shape

    def _add_dense(self, name: str) -> None:
        self.dense = nn.Sequential()
        for number, spec in enumerate(self.spec.dense, start=1):
            with _within(f'encoder "{name}", dense layer {number}'):
                layer = HadamardLinear(
                    self.features,
                    spec.features,
                    branches=spec.branches,
                    activation=spec.activation,
                    combine=spec.combine,
                    norm=spec.norm,
                    bias=spec.bias,
                    initialiser=self.spec.dense_initialiser,
                )
            self.dense.append(layer)
            self.features = layer.out_features

    def initialise(self, initialiser: InitialiserSetting) -> None:
        """Draw the weights of all hidden layers anew by another initialiser."""
        for layer in self.modules():
            if isinstance(layer, HadamardConv2d | HadamardLinear):
                layer.initialise(initialiser)

    def forward(self, observations: Tensor) -> Tensor:
        self._check(observations)
        if observations.dtype == torch.uint8 and observations.ndim == 4 and getattr(self.blocks, "takes_bytes", False):
            return self._after_blocks(self.blocks(observations, scale=self.input_scale))
        # Frameworks such as torch.func replace parameters by plain tensors, so `parameters()` may be empty.
        layer = next(module for module in self.modules() if isinstance(module, HadamardConv2d | HadamardLinear))
        with cached_parametrization(layer):
            return self._after_blocks(self.blocks(self._scale(observations.to(layer.weight.dtype))))

    def _scale(self, numbers: Tensor) -> Tensor:
        if numbers.ndim == 4 and not is_transformed():  # vmap does not support channels-last
            numbers = numbers.contiguous(memory_format=torch.channels_last)
        return numbers / self.input_scale

    def _after_blocks(self, maps: Tensor) -> Tensor:
        features: Tensor = self.dense(self._flatten(maps))
        return features

    def _check(self, observations: Tensor) -> None:
        if not isinstance(observations, Tensor):
            raise TypeError(f"observations must be a tensor, not {type(observations).__name__}")
        if observations.dtype != torch.uint8 and not observations.is_floating_point():
            raise TypeError(f"observations must be uint8 or floating point, not {observations.dtype}")
        if observations.ndim == 0 or tuple(observations.shape[1:]) != self.observation_shape:
            wanted = ", ".join(map(str, self.observation_shape))
            raise ValueError(
                f"observations must be [B, {wanted}], not {list(observations.shape)}{self._mend(observations.shape)}"
            )

    def _mend(self, shape: Sequence[int]) -> str:
        channels, *size = self.observation_shape
        if size and tuple(shape[1:]) == (*size, channels):
            return ": their channels are last; give observations.movedim(-1, 1)"
        if tuple(shape) == self.observation_shape:
            return ": one observation without a batch; give observations[None]"
        return ""

    def extra_repr(self) -> str:
        shapes = f"observation_shape={self.observation_shape}, features={self.features}"
        return f"{shapes}, input_scale={self.input_scale}"


def _checked_shape(spec: EncoderSpec, observation_shape: Sequence[int], name: str) -> tuple[int, ...]:
    shape = tuple(whole("observation_shape", size) for size in observation_shape)
    if not spec.blocks and not spec.dense:
        raise ValueError(f'encoder "{name}" has no layers; give it blocks or dense layers')
    wanted = "(channels, height, width)" if spec.blocks else "(features,)"
    if len(shape) != (3 if spec.blocks else 1):
        raise ValueError(f'observation_shape must be {wanted} for encoder "{name}", not {shape}')
    if len(shape) == 3 and looks_channels_last(shape):
        first = (shape[2], *shape[:2])
        raise ValueError(
            f"observation_shape {shape} has its channels last; expected (channels, height, width): {first}"
        )
    return shape


def looks_channels_last(shape: Sequence[int]) -> bool:
    """Return True if a shape of three sizes looks like (height, width, channels): its last size is the small one."""
    first, second, last = shape
    square = first == second >= 10 and last < first
    return square or (last <= 4 and min(first, second) >= 32)


def build_encoder(
    encoder: str | EncoderSpec,
    observation_shape: Sequence[int] = (4, 84, 84),
    input_scale: float = 255.0,
    *,
    activation: ActivationSetting | None = None,
    branches: int | None = None,
    combine: str | None = None,
    norm: NormSetting | Unset = UNSET,
    layers: str = "all",
    width: float = 1.0,
    features: int | None = None,
) -> Encoder:
    """Build an `Encoder` from a name in `ENCODERS` or an `EncoderSpec`, with the changes that `override` accepts.

    `input_scale` is the divisor of the observations; it is never inferred (use 1.0 for MinAtar and scaled images).

    Raises:
        TypeError, ValueError: a name, a setting or a combination is invalid; for example, observations too small for
            the encoder, or more names of activations than branches.
    """
    name = encoder if isinstance(encoder, str) else "custom"
    spec = encoder if isinstance(encoder, EncoderSpec) else lookup("encoder", encoder, ENCODERS)
    spec = override(
        spec,
        activation=activation,
        branches=branches,
        combine=combine,
        norm=norm,
        layers=layers,
        width=width,
        features=features,
    )
    return Encoder(spec, observation_shape, input_scale, name)
