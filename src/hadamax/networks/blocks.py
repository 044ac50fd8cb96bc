"""The convolutional block of an encoder: a Hadamard convolution and its pool, fused where kernels know them."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.kernels import (
    BlockConfig,
    ConvBlockConfig,
    Implementation,
    byte_convolution_obstacle,
    fused_conv_block,
    hadamax_block,
    implementation,
)
from hadamax.kernels.dispatch import can_call_directly
from hadamax.networks.hadamard import HadamardConv2d, Range
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.observed import drawn_once, is_hooked
from hadamax.networks.pooling import Pooling
from hadamax.networks.specs import Conv

PIECE = 64 * 2**20  # bytes of a convolution's output that are differentiated at a time
MOST_PIECES = 8  # their gradients of the weights are added in the weights' precision under autocast

# What PyTorch does in one pass, and quicker than the kernel, which also notes where each maximum was.
LONE = [
    {"branches": 1, "activations": (name,), "combine": combine, "norm": None, "pool": None}
    for name in ("identity", "relu", "sigmoid")
    for combine in ("product", "sum")
]


class EncoderBlock(nn.Module):
    """Float [N, in_channels, H, W] -> [N, out_channels, H', W']."""

    out_channels: int
    takes_bytes = False
    """Whether it also takes uint8 maps, with the `scale` that they are to be divided by."""

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(H', W'); 0 where the map is too small for the block."""
        return height, width


def finish_block(merged: Tensor, layer: HadamardConv2d, pool: Pooling | None) -> Tensor:
    """What follows a convolution (norm, activation, product, pool): [N, k * C, H, W] -> [N, C, H', W'].

    Element by element over the largest maps of the network, this costs more than the convolution when run in
    separate passes, so it goes through the fused kernel where that serves it. A lone activation is one pass already.
    """
    settings = kernel_settings(layer, pool, merged.shape[2], merged.shape[3])
    if settings in LONE:
        return layer.combine_branches(merged)
    if settings is not None:
        place: dict[str, Any] = {"dtype": merged.dtype, "device": merged.device.type}
        channels = merged.shape[1] // layer.branches
        # A compiled graph asks by itself; elsewhere plain layers in the tensor's own precision do better than
        # the kernels' reference.
        compiling = torch.compiler.is_compiling()
        if compiling or implementation(**settings, **place, channels=channels).name != "reference":
            weight, bias = layer.norm.affine()
            return hadamax_block(merged, weight, bias, eps=layer.norm.eps, **settings)
    combined = layer.combine_branches(merged)
    return combined if pool is None else pool(combined)


def kernel_settings(layer: HadamardConv2d, pool: Pooling | None, height: int, width: int) -> dict[str, Any] | None:
    """What the kernels are asked for after a convolution to [N, k * C, height, width]; None if they do not know it."""
    margins = None if pool is None else kernel_pool(pool, height, width)
    settings = layer.kernel_settings
    if settings is None or (pool is None) != (margins is None):
        return None
    return {**settings, "pool": margins}


def kernel_pool(pool: Pooling, height: int, width: int) -> tuple[int, int, int, int] | None:
    """(window, stride, padding before, padding after) as the kernel takes them; None where it cannot."""
    window = pool.window
    vertical, horizontal = window.margins(height, width)
    square = window.kernel[0] == window.kernel[1] and window.stride[0] == window.stride[1]
    if pool.pool.kind != "max" or not square or vertical != horizontal:
        return None
    return window.kernel[0], window.stride[0], *vertical


class ConvBlock(EncoderBlock):
    """The one convolutional block, from a `Conv`."""

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
        """What computes the block after its convolution, for an input of that size; compiles to find out."""
        settings = kernel_settings(self.layer, self.pool, *self.layer.window.output_size(height, width))
        if settings is None:
            return Implementation("reference", "an activation or a pool that no fused form has")
        if settings in LONE:
            return Implementation("reference", "a lone activation, one pass as it is")
        channels = self.layer.weight.shape[0] // self.layer.branches
        return implementation(**settings, dtype=dtype, device=device, channels=channels)

    def forward(self, x: Tensor, *, scale: float | None = None) -> Tensor:
        layer, pool = self.layer, self.pool
        with drawn_once(layer):
            if not any(map(is_hooked, (layer, layer.norm, *layer.activations, pool))):
                return self._fused(x, scale)
            combined: Tensor = layer(x, scale=scale)
            return combined if pool is None else pool(combined)

    def _fused(self, x: Tensor, scale: float | None) -> Tensor:
        """The block with as few passes over its maps as can be had."""
        stage = self._stage(x, scale)
        if stage is not None:
            weights = self.layer.weight, self.layer.bias, *self.layer.norm.affine()
            if stage.supports(x, *weights):
                return fused_conv_block(x, *weights, stage)
        number = self._pieces(x)
        if number == 1:
            return self._whole(x, scale)
        return torch.cat([self._whole(piece, scale) for piece in x.chunk(number)])

    def _stage(self, x: Tensor, scale: float | None) -> ConvBlockConfig | None:
        """The block on bytes, convolution and all, where the kernels know both; soon told where they do not."""
        if scale is None or x.ndim != 4 or not can_call_directly(x):
            return None
        geometry = self.layer.byte_geometry(x, scale)
        if byte_convolution_obstacle(x.shape[2:], self.layer.weight, geometry) is not None:
            return None
        settings = kernel_settings(self.layer, self.pool, *self.layer.window.output_size(x.shape[2], x.shape[3]))
        if settings is None or settings in LONE:
            return None
        return ConvBlockConfig(geometry, BlockConfig(**settings, eps=self.layer.norm.eps))

    def _whole(self, x: Tensor, scale: float | None) -> Tensor:
        return finish_block(self.layer.convolve(x, scale=scale), self.layer, self.pool)

    def _pieces(self, x: Tensor) -> int:
        """In how many pieces a batch goes through the block: one, but for training on the CPU where maps are large.

        The backward pass then holds the gradient of one piece's convolution and not of all of them, which may be the
        largest tensor of the network, for a percent of the time.
        """
        if x.ndim != 4 or x.device.type != "cpu" or not torch.is_grad_enabled() or not can_call_directly(x):
            return 1
        values = self.layer.weight.shape[0] * math.prod(self.layer.window.output_size(x.shape[2], x.shape[3]))
        rows = max(PIECE // max(values * self.layer.dtype("cpu").itemsize, 1), 1)
        return min(max(-(-len(x) // rows), 1), MOST_PIECES)

    @property
    def output_range(self) -> Range | None:
        return self.layer.output_range

    def inner_activations(self, x: Tensor, **how: Any) -> dict[str, tuple[Tensor, Range]]:
        """What a probe sees beside the output: the branches, and before a pool what they combine to.

        The fused kernel never holds these, so they are computed anew: the cost of a probe is a probe's alone.
        """
        inner = self.layer.inner_activations(x, **how)
        if self.pool is not None and self.output_range is not None:
            branches = [values for values, _ in inner.values()] or self.layer.branch_activations(x, **how)
            name = self.layer.combine if inner else "before pool"
            inner[name] = self.layer.combined(branches), self.output_range
        return inner
