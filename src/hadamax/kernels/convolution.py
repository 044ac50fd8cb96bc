"""The convolution that begins an encoder, of bytes: scaled, padded and convolved, by way of Fourier transforms.

csrc/spectra.h says how. What the kernel does not serve goes the plain way: bytes into numbers, then PyTorch's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.observations import Margins, scaled_observations
from hadamax.kernels.place import Place
from hadamax.kernels.plain import conv2d
from hadamax.kernels.spectra import Spectra
from hadamax.kernels.watchers import is_plain, is_watched, looks


class ConvolutionGeometry(NamedTuple):
    """What a convolution does beside its weights. Bytes are divided by `scale`; `dtype` is that of the output."""

    stride: tuple[int, int]
    margins: Margins
    scale: float
    dtype: torch.dtype

    @property
    def place(self) -> Place:
        """Where its windows lie."""
        return Place(self.stride, self.margins)


def byte_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry) -> Tensor:
    """uint8 [N, C, H, W] / scale, within margins of zeros, convolved: [N, out, H', W'], channels-last.

    Args:
        weight: [out, C, kernel rows, kernel columns]; bias: [out] or None.

    Raises:
        TypeError: x is not of bytes.
    """
    if x.dtype != torch.uint8:
        raise TypeError(f"byte_convolution takes uint8, not {x.dtype}")
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if (
        not all(map(is_plain, tensors))
        or not geometry.place.fits(x, weight, bias)
        or byte_convolution_obstacle(x.shape[2:], weight, geometry) is not None
    ):
        return plain_convolution(x, weight, bias, geometry)
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    y: Tensor = _Convolution.apply(held(x, learns), weight, bias, geometry)  # type: ignore[no-untyped-call]
    return y


def held(x: Tensor, learns: bool) -> Tensor:
    """Bytes as the kernel takes them, and as they are until the backward pass where there will be one."""
    if not x[:1].is_contiguous():
        return x.contiguous()
    # The games may write the next observations over these; of stacks that share frames, a clone would keep strides.
    return x.clone(memory_format=torch.contiguous_format) if learns else x


def plain_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry) -> Tensor:
    """PyTorch's, of bytes."""
    numbers, padding = _plain_input(x, geometry)
    weight, bias = weight.to(numbers.dtype), None if bias is None else bias.to(numbers.dtype)
    return conv2d(numbers, weight, bias, geometry.stride, padding)


def byte_convolution_obstacle(size: torch.Size, weight: Tensor, geometry: ConvolutionGeometry) -> str | None:
    """Why the kernel does not serve plain tensors, observations of a height and a width; None where it does.

    Compiles it to find out.
    """
    dtype = geometry.dtype
    if weight.device.type != "cpu" or dtype not in cpu.ELEMENTS or not cpu.wanted():
        return "not in float32 or bfloat16 on the CPU"
    if dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported():
        return "the processor has tiles (AMX), with which the plain form is faster"
    return Spectra(torch.uint8, dtype).obstacle(size, weight.shape, geometry.place)


def _plain_input(x: Tensor, geometry: ConvolutionGeometry) -> tuple[Tensor, tuple[int, int]]:
    """The plain form's input, and what is left for its convolution to pad."""
    padding = geometry.place.padding()
    if padding is not None:
        return scaled_observations(x, geometry.scale, geometry.dtype), padding
    return scaled_observations(x, geometry.scale, geometry.dtype, geometry.margins), (0, 0)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry) -> Tensor:
        ctx.save_for_backward(x)
        ctx.geometry, ctx.kept = geometry, looks(x)
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        return Spectra(torch.uint8, geometry.dtype).forward(x, weight, bias, geometry.place, 1 / geometry.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        x = x if x[:1].is_contiguous() else x.contiguous()  # who kept it may have changed it
        plain = is_watched(gradient) or looks(x) != ctx.kept
        found = (_plain_gradients if plain else _gradients)(gradient, x, ctx.shape, ctx.geometry)
        to_weight, to_bias = (tensor.to(ctx.dtype) for tensor in found)
        _, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return None, to_weight if wants_weight else None, to_bias if wants_bias else None, None


def _gradients(gradient: Tensor, x: Tensor, shape: torch.Size, geometry: ConvolutionGeometry) -> tuple[Tensor, Tensor]:
    return Spectra(torch.uint8, geometry.dtype).gradients(gradient, x, shape, geometry.place, 1 / geometry.scale)


def _plain_gradients(
    gradient: Tensor, x: Tensor, shape: torch.Size, geometry: ConvolutionGeometry
) -> tuple[Tensor, Tensor]:
    numbers, padding = _plain_input(x, geometry)
    weight = numbers.new_empty(shape)  # its values play no part
    _, to_weight, to_bias = torch.ops.aten.convolution_backward(
        gradient, numbers, weight, [shape[0]], geometry.stride, padding, [1, 1], False, [0, 0], 1, [False, True, True]
    )
    return to_weight, to_bias
