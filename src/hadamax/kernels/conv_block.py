"""An encoder's first convolution and the Hadamax block after it, fused image by image on the CPU.

The result equals `byte_convolution` followed by `hadamax_block`, with the same kernels (csrc/following_block.h). Each
kernel finds the other's output in the CPU cache, and the gradient of the map between them, the largest tensor of the
network, is never stored as a whole.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.byte_convolution import ByteConvConfig, byte_convolution_obstacle, plain_convolution, prepare_input
from hadamax.kernels.cpu import float32, pointer
from hadamax.kernels.dispatch import can_call_directly, needs_differentiable_backward, tensor_signatures
from hadamax.kernels.fft_convolution import FftConvolution, FollowingBlock
from hadamax.kernels.reference import gradients_of, reference_block

FEWEST_IMAGES = 8  # smaller batches fit in the cache anyway and do not occupy every core


class ConvBlockConfig(NamedTuple):
    """Settings of a convolution of bytes and of the block after it."""

    conv: ByteConvConfig
    block: BlockConfig

    def supports(self, x: Tensor, *weights: Tensor | None) -> bool:
        """Return True if `fused_conv_block` supports x and these weights. May compile the kernels."""
        conv, block = self
        tensors = [tensor for tensor in (x, *weights) if tensor is not None]
        weight, bias, *_ = weights
        assert weight is not None
        return (
            len(x) >= FEWEST_IMAGES
            and x.dtype == torch.uint8
            and all(can_call_directly(tensor) and tensor.device == x.device for tensor in tensors)
            and conv.geometry.fits(x, weight, bias)
            and byte_convolution_obstacle(x.shape[2:], weight, conv) is None
            and cpu.obstacle(conv.dtype, block) is None
            and min(map(block.pooled, self.map_size(x, weight)[2:])) > 0
            and self.library(len(weight)) is not None
        )

    def map_size(self, x: Tensor, weight: Tensor) -> torch.Size:
        """Return the size of the map between convolution and block."""
        return torch.Size((len(x), len(weight), *self.conv.geometry.output_size(x.shape[2:], weight.shape[2:])))

    def library(self, channels: int) -> ctypes.CDLL | None:
        """Return the block's library for a map with this number of channels."""
        return cpu.library(self.conv.dtype, self.block, channels // self.block.branches)


def fused_conv_block(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    config: ConvBlockConfig,
) -> Tensor:
    """Compute the fused convolution and block: uint8 [N, C, H, W] -> [N, channels, H', W'], channels-last.

    `config.supports` must be True for the arguments.

    Args:
        weight: [branches * channels, C, kernel rows, kernel columns]; the others are [branches * channels] or None.
    """
    tensors = weight, bias, norm_weight, norm_bias
    needs_gradient = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    x = prepare_input(x, needs_gradient)
    if needs_gradient:
        y: Tensor = _FusedConvBlock.apply(x, config, *tensors)  # type: ignore[no-untyped-call]
        return y
    return _forward(x, tensors, config, None)[0]


class _FusedConvBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, config: ConvBlockConfig, *weights: Tensor) -> Tensor:
        between = _kernel(config).empty_output(x, weights[0], config.conv.geometry)
        y, positions = _forward(x, weights, config, between)
        saved = x, *weights, between, positions
        ctx.save_for_backward(*saved)
        ctx.config, ctx.signatures = config, tensor_signatures(*saved)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved, config = ctx.saved_tensors, ctx.config
        x, *weights, between, positions = saved
        found: Sequence[Tensor | None]
        # Saved-tensor hooks may have changed shape or dtype.
        if needs_differentiable_backward(gradient) or tensor_signatures(*saved) != ctx.signatures:
            found = _plain_gradients(gradient, x, weights, config)
        else:
            found = _gradients(gradient, x, weights, config, between, positions)
        wanted = zip(found, weights, ctx.needs_input_grad[2:], strict=True)
        return None, None, *(None if not wants or g is None else g.to(w.dtype) for g, w, wants in wanted)


def _kernel(config: ConvBlockConfig) -> FftConvolution:
    return FftConvolution(torch.uint8, config.conv.dtype)


class _Call:
    """Owner of the memory that a `FollowingBlock` points to."""

    def __init__(
        self,
        config: ConvBlockConfig,
        size: torch.Size,
        weights: Sequence[Tensor | None],
        y: Tensor,
        positions: Tensor,
        sums: Tensor | None,
    ) -> None:
        library = config.library(size[1])
        if library is None:
            raise RuntimeError(f"the fused convolution and block have no kernel: {cpu.failure()}")
        self._sizes = cpu.block_sizes(size, y[:1], config.block)
        self._sizes.threads = 1
        self._tensors = (*map(float32, weights), y, positions, sums)
        passes = [ctypes.cast(each, ctypes.c_void_p) for each in (library.hadamax_forward, library.hadamax_backward)]
        addresses = [ctypes.cast(ctypes.byref(self._sizes), ctypes.c_void_p), *map(pointer, self._tensors)]
        self.following = FollowingBlock(*passes, *addresses, y[:1].numel())


def _forward(
    x: Tensor, weights: Sequence[Tensor | None], config: ConvBlockConfig, between: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return y and its positions. The map between convolution and block is written to `between` if given."""
    (conv, block), (weight, bias, *norm) = config, weights
    assert weight is not None
    size = config.map_size(x, weight)
    y, positions = cpu.empty_outputs(size, conv.dtype, x.device, block)
    call = _Call(config, size, norm, y, positions, None)
    _kernel(config).convolve(x, weight, bias, conv.geometry, 1 / conv.scale, between, call.following)
    return y, positions


def _gradients(
    gradient: Tensor, x: Tensor, weights: Sequence[Tensor], config: ConvBlockConfig, between: Tensor, positions: Tensor
) -> list[Tensor]:
    conv = config.conv
    x = x if x[:1].is_contiguous() else x.contiguous()
    between = between.contiguous(memory_format=torch.channels_last)
    positions = positions.contiguous(memory_format=torch.channels_last)
    gradient = gradient.to(conv.dtype).contiguous(memory_format=torch.channels_last)
    sums = torch.zeros(torch.get_num_threads(), 2, between.shape[1], dtype=torch.float64, device="cpu")
    call = _Call(config, between.shape, weights[2:], gradient, positions, sums)
    geometry, scale = conv.geometry, 1 / conv.scale
    found = _kernel(config).gradients(between, x, weights[0].shape, geometry, scale, call.following)
    return [*found, *(each.clone() for each in sums.sum(0).float())]


def _plain_gradients(
    gradient: Tensor, x: Tensor, weights: Sequence[Tensor | None], config: ConvBlockConfig
) -> list[Tensor | None]:
    def plain(weight: Tensor, bias: Tensor | None, norm_weight: Tensor | None, norm_bias: Tensor | None) -> Tensor:
        between = plain_convolution(x, weight, bias, config.conv)
        return reference_block(between, norm_weight, norm_bias, config.block)

    return gradients_of(plain, weights, gradient)
