"""Blocks of an encoder: the Hadamard convolution with its pool, Impala's residual stages, and their sequence."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.kernels import Implementation
from hadamax.networks.activations import resolve_activations
from hadamax.networks.fast_path import fast_path, implementation_of
from hadamax.networks.hadamard import HadamardConv2d, Range
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.names import whole
from hadamax.networks.observed import cached_parametrization
from hadamax.networks.specs import Activate, Block, Conv, Residual
from hadamax.networks.windows import Pooling


class EncoderBlock(nn.Module):
    """Float [N, in_channels, H, W] -> [N, out_channels, H', W']."""

    out_channels: int
    takes_bytes = False
    """True if the block also takes uint8 maps, with the `scale` to divide them by."""

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (H', W'); 0 if the map is too small for the block."""
        return height, width


class ConvBlock(EncoderBlock):
    """The convolutional block of all encoders, built from a `Conv`."""

    takes_bytes = True

    def __init__(self, spec: Conv, in_channels: int, initialiser: InitialiserSetting) -> None:
        super().__init__()
        self.layer = HadamardConv2d(
            in_channels,
            spec.channels,
            spec.kernel,
            stride=spec.stride,
            padding=spec.padding,
            branches=spec.branches,
            activation=spec.activation,
            combine=spec.combine,
            norm=spec.norm,
            bias=spec.bias,
            initialiser=initialiser,
        )
        self.pool = None if spec.pool is None else Pooling(spec.pool)
        self.out_channels = self.layer.out_channels

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        size = self.layer.window.output_size(height, width)
        return size if self.pool is None else self.pool.window.output_size(*size)

    def served_by(self, height: int, width: int, dtype: torch.dtype, device: str = "cpu") -> Implementation:
        """Return what computes the block after its convolution, for an input of this size. May compile kernels."""
        return implementation_of(self, height, width, dtype, device)

    def forward(self, x: Tensor, *, scale: float | None = None) -> Tensor:
        """[N, in_channels, H, W] -> [N, out_channels, H', W']; with a `scale`, x is uint8 and divided by it."""
        with cached_parametrization(self.layer):
            fused = fast_path(self, x, scale)  # None: no kernel supports the block, or it is observed from outside
            return self.definition(x, scale) if fused is None else fused

    def definition(self, x: Tensor, scale: float | None = None) -> Tensor:
        """The block in plain PyTorch: convolution, norm, activation, product, then the pool."""
        combined: Tensor = self.layer(x, scale=scale)
        return combined if self.pool is None else self.pool(combined)

    @property
    def output_range(self) -> Range | None:
        return self.layer.output_range

    def inner_activations(self, x: Tensor, **kwargs: Any) -> dict[str, tuple[Tensor, Range]]:
        """Return what a probe records beside the output: the branches, and their combination before the pool.

        The fused kernel does not store these, so they are recomputed, which costs time only while probing.
        """
        inner = self.layer.inner_activations(x, **kwargs)
        if self.pool is not None and self.output_range is not None:
            branches = [values for values, _ in inner.values()] or self.layer.branch_activations(x, **kwargs)
            name = self.layer.combine if inner else "before pool"
            inner[name] = self.layer.combined(branches), self.output_range
        return inner


class ActivationBlock(EncoderBlock):
    """An activation over the channels of a map, from an `Activate`."""

    def __init__(self, spec: Activate, in_channels: int) -> None:
        super().__init__()
        (activation,) = resolve_activations(spec.activation, branches=1)
        self.activation = activation.make()
        self.out_channels = in_channels * activation.width
        self.output_range = None if spec.activation == "identity" else activation.range

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(x.movedim(1, -1))
        return activated.movedim(-1, 1)

    def inner_activations(self, x: Tensor) -> dict[str, tuple[Tensor, Range]]:
        """A probe sees nothing beside the output."""
        return {}


class ResidualBlock(nn.Module):
    """x + linear convolution(hidden convolution(activation(x))), from a `Residual`."""

    def __init__(self, spec: Residual, initialiser: InitialiserSetting) -> None:
        super().__init__()
        self.activation = ActivationBlock(Activate(spec.outer_activation), spec.channels)
        hidden = Conv(
            spec.channels,
            spec.kernel,
            padding="same",
            activation=spec.activation,
            branches=spec.branches,
            combine=spec.combine,
            norm=spec.norm,
            bias=spec.bias,
        )
        self.hidden = ConvBlock(hidden, self.activation.out_channels, initialiser)
        linear = Conv(spec.channels, spec.kernel, padding="same", activation="identity", bias=spec.bias)
        self.linear = ConvBlock(linear, self.hidden.out_channels, initialiser)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.linear(self.hidden(self.activation(x)))
        return x + change


class ResidualStage(EncoderBlock):
    """An Impala stage, from a `Residual`."""

    takes_bytes = True

    def __init__(self, spec: Residual, in_channels: int, initialiser: InitialiserSetting) -> None:
        super().__init__()
        entry = Conv(spec.channels, spec.kernel, padding="same", activation="identity", pool=spec.pool, bias=spec.bias)
        self.entry = ConvBlock(entry, in_channels, initialiser)
        blocks = whole("blocks", spec.blocks, minimum=0)
        self.residuals = nn.Sequential(*(ResidualBlock(spec, initialiser) for _ in range(blocks)))
        self.out_channels = spec.channels

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        return self.entry.output_size(height, width)

    def forward(self, x: Tensor, *, scale: float | None = None) -> Tensor:
        output: Tensor = self.residuals(self.entry(x, scale=scale))
        return output


BLOCKS: dict[type, Callable[..., EncoderBlock]] = {
    Conv: ConvBlock,
    Residual: ResidualStage,
    Activate: lambda spec, in_channels, initialiser: ActivationBlock(spec, in_channels),
}


def make_block(spec: Block, in_channels: int, initialiser: InitialiserSetting) -> EncoderBlock:
    """The module of a block."""
    return BLOCKS[type(spec)](spec, in_channels, initialiser)


class Stack(nn.Sequential):
    """Blocks one after another. With a `scale` the first is given bytes, to be divided by it."""

    @property
    def takes_bytes(self) -> bool:
        return len(self) > 0 and getattr(self[0], "takes_bytes", False)

    def forward(self, x: Tensor, *, scale: float | None = None) -> Tensor:
        for number, block in enumerate(self):
            x = block(x) if number or scale is None else block(x, scale=scale)
        return x
