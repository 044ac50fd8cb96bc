"""The first stage of an encoder on the CPU, a convolution of bytes and the block after it, image by image.

The numbers are those of `byte_convolution` and `hadamax_block`, the kernels theirs (csrc/following.h): each finds in a
cache what the other wrote, and the gradient of the map between them, the largest tensor of a network, is never whole.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.convolution import ConvolutionGeometry, byte_convolution_obstacle, held, plain_convolution
from hadamax.kernels.cpu import float32, pointer
from hadamax.kernels.reference import gradients_of, reference_block
from hadamax.kernels.spectra import Following, Spectra
from hadamax.kernels.variant import Variant
from hadamax.kernels.watchers import is_plain, is_watched, looks

FEWEST_IMAGES = 8  # of fewer the maps stay in a cache as they are, and the block has no work for every core


class Stage(NamedTuple):
    """What a stage is beside its weights."""

    geometry: ConvolutionGeometry
    variant: Variant

    def serves(self, x: Tensor, *weights: Tensor | None) -> bool:
        """Whether `fused_stage` takes these, of which the first two are the convolution's; compiles to find out."""
        geometry, variant = self
        tensors = [tensor for tensor in (x, *weights) if tensor is not None]
        weight, bias, *_ = weights
        assert weight is not None
        return (
            len(x) >= FEWEST_IMAGES
            and x.dtype == torch.uint8
            and all(is_plain(tensor) and tensor.device == x.device for tensor in tensors)
            and geometry.place.fits(x, weight, bias)
            and byte_convolution_obstacle(x.shape[2:], weight, geometry) is None
            and cpu.obstacle(geometry.dtype, variant) is None
            and min(map(variant.pooled, self.map_size(x, weight)[2:])) > 0
            and self.library(len(weight)) is not None
        )

    def map_size(self, x: Tensor, weight: Tensor) -> torch.Size:
        """Of the map between convolution and block."""
        return torch.Size((len(x), len(weight), *self.geometry.place.output_size(x.shape[2:], weight.shape[2:])))

    def library(self, channels: int) -> ctypes.CDLL | None:
        """The block's, for a map of so many channels."""
        return cpu.library(self.geometry.dtype, self.variant, channels // self.variant.branches)


def fused_stage(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    stage: Stage,
) -> Tensor:
    """uint8 [N, C, H, W] -> [N, channels, H', W'], channels-last, of what the stage `serves`.

    Args:
        weight: [branches * channels, C, kernel rows, kernel columns]; the others [branches * channels] or None.
    """
    tensors = weight, bias, norm_weight, norm_bias
    learns = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    x = held(x, learns)
    if learns:
        y: Tensor = _Stage.apply(x, stage, *tensors)  # type: ignore[no-untyped-call]
        return y
    return _forward(x, tensors, stage, None)[0]


class _Stage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stage: Stage, *weights: Tensor) -> Tensor:
        between = _kernel(stage).room(x, weights[0], stage.geometry.place)
        y, positions = _forward(x, weights, stage, between)
        kept = x, *weights, between, positions
        ctx.save_for_backward(*kept)
        ctx.stage, ctx.kept = stage, looks(*kept)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved, stage = ctx.saved_tensors, ctx.stage
        x, *weights, between, positions = saved
        found: Sequence[Tensor | None]
        if is_watched(gradient) or looks(*saved) != ctx.kept:  # who kept them may have changed them
            found = _plain_gradients(gradient, x, weights, stage)
        else:
            found = _gradients(gradient, x, weights, stage, between, positions)
        wanted = zip(found, weights, ctx.needs_input_grad[2:], strict=True)
        return None, None, *(None if not wants or g is None else g.to(w.dtype) for g, w, wants in wanted)


def _kernel(stage: Stage) -> Spectra:
    return Spectra(torch.uint8, stage.geometry.dtype)


class _Call:
    """What `Following` points to, as long as it does."""

    def __init__(
        self,
        stage: Stage,
        size: torch.Size,
        weights: Sequence[Tensor | None],
        y: Tensor,
        positions: Tensor,
        sums: Tensor | None,
    ) -> None:
        library = stage.library(size[1])
        if library is None:
            raise RuntimeError(f"a fused stage lost its kernel: {cpu.failure()}")
        self._sizes = cpu.block_sizes(size, y[:1], stage.variant)
        self._sizes.threads = 1
        self._tensors = (*map(float32, weights), y, positions, sums)
        passes = [ctypes.cast(each, ctypes.c_void_p) for each in (library.hadamax_forward, library.hadamax_backward)]
        places = [ctypes.cast(ctypes.byref(self._sizes), ctypes.c_void_p), *map(pointer, self._tensors)]
        self.following = Following(*passes, *places, y[:1].numel())


def _forward(
    x: Tensor, weights: Sequence[Tensor | None], stage: Stage, between: Tensor | None
) -> tuple[Tensor, Tensor]:
    """y and its positions; the map between convolution and block goes to `between`, or is forgotten."""
    (geometry, variant), (weight, bias, *norm) = stage, weights
    assert weight is not None
    size = stage.map_size(x, weight)
    y, positions = cpu.empty_outputs(size, geometry.dtype, x.device, variant)
    call = _Call(stage, size, norm, y, positions, None)
    _kernel(stage).convolve(x, weight, bias, geometry.place, 1 / geometry.scale, between, call.following)
    return y, positions


def _gradients(
    gradient: Tensor, x: Tensor, weights: Sequence[Tensor], stage: Stage, between: Tensor, positions: Tensor
) -> list[Tensor]:
    geometry = stage.geometry
    x = x if x[:1].is_contiguous() else x.contiguous()
    between = between.contiguous(memory_format=torch.channels_last)
    positions = positions.contiguous(memory_format=torch.channels_last)
    gradient = gradient.to(geometry.dtype).contiguous(memory_format=torch.channels_last)
    sums = torch.zeros(torch.get_num_threads(), 2, between.shape[1], dtype=torch.float64, device="cpu")
    call = _Call(stage, between.shape, weights[2:], gradient, positions, sums)
    place, scale = geometry.place, 1 / geometry.scale
    found = _kernel(stage).gradients(between, x, weights[0].shape, place, scale, call.following)
    return [*found, *(each.clone() for each in sums.sum(0).float())]


def _plain_gradients(
    gradient: Tensor, x: Tensor, weights: Sequence[Tensor | None], stage: Stage
) -> list[Tensor | None]:
    def plain(weight: Tensor, bias: Tensor | None, norm_weight: Tensor | None, norm_bias: Tensor | None) -> Tensor:
        between = plain_convolution(x, weight, bias, stage.geometry)
        return reference_block(between, norm_weight, norm_bias, stage.variant)

    return gradients_of(plain, weights, gradient)
