"""The convolutional block of an encoder: a Hadamard convolution and its pool."""

from typing import Any

import torch
from torch import Tensor, nn

from hadamax.kernels import Implementation
from hadamax.networks.fast_path import fast_path, implementation_of
from hadamax.networks.hadamard import HadamardConv2d, Range
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.observed import cached_parametrization
from hadamax.networks.pooling import Pooling
from hadamax.networks.specs import Conv


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
