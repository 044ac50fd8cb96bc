"""An encoder's later convolutions, of float32 maps: an FFT convolution where it is faster than PyTorch's.

The algorithm is described in csrc/fft_convolution.h. PyTorch computes what the kernel does not support, and bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.conv_bias_gradient import conv2d
from hadamax.kernels.conv_geometry import ConvGeometry
from hadamax.kernels.dispatch import can_call_directly, needs_differentiable_backward, tensor_signatures
from hadamax.kernels.fft_convolution import FftConvolution

FEWEST_IMAGES = 8  # for fewer, transforming the kernel costs more than is saved
FFT = FftConvolution(torch.float32, torch.float32)


def map_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry) -> Tensor:
    """Convolve float [N, C, H, W], padded with zeros: -> [N, out, H', W'].

    Args:
        x: the FFT convolution is used only if it is channels-last; the output then is channels-last too.
        weight: [out, C, kernel rows, kernel columns].
        bias: [out] or None.
    """
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if (
        len(x) < FEWEST_IMAGES
        or not all(can_call_directly(tensor) and tensor.dtype == torch.float32 for tensor in tensors)
        or torch.is_autocast_enabled("cpu")
        or not geometry.fits(x, weight, bias)
        or not x.is_contiguous(memory_format=torch.channels_last)
        or map_convolution_obstacle(x.shape[2:], weight, geometry) is not None
    ):
        return _plain(x, weight, bias, geometry)
    y: Tensor = _Convolution.apply(x, weight, bias, geometry)  # type: ignore[no-untyped-call]
    return y


def map_convolution_obstacle(size: torch.Size, weight: Tensor, geometry: ConvGeometry) -> str | None:
    """Return why the kernel does not support maps of this height and width, or None. May compile it."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not cpu.wanted():
        return "not in float32 on the CPU"
    return "a stride" if geometry.stride != (1, 1) else FFT.obstacle(size, weight.shape, geometry)


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry) -> Tensor:
    padded, padding = _plain_input(x, geometry)
    return conv2d(padded, weight, bias, geometry.stride, padding)


def _plain_input(x: Tensor, geometry: ConvGeometry) -> tuple[Tensor, tuple[int, int]]:
    """Return the input of PyTorch's convolution, and the padding still to be applied by it."""
    padding = geometry.padding()
    if padding is not None:
        return x, padding
    (top, bottom), (left, right) = geometry.margins
    return F.pad(x, (left, right, top, bottom)), (0, 0)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.signatures = geometry, tensor_signatures(x, weight)
        return FFT.forward(x, weight, bias, geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), geometry = ctx.saved_tensors, ctx.geometry
        to_x, to_weight, to_bias = wanted = ctx.needs_input_grad[:3]
        # Saved-tensor hooks may have changed shape or dtype.
        if needs_differentiable_backward(gradient) or tensor_signatures(x, weight) != ctx.signatures:
            return *_plain_gradients(gradient, x, weight, geometry, wanted), None
        found: list[Tensor | None] = [_input_gradient(gradient, x, weight, geometry) if to_x else None, None, None]
        if to_weight or to_bias:
            x = x.contiguous(memory_format=torch.channels_last)
            found[1:] = FFT.gradients(gradient, x, weight.shape, geometry)
        return *(tensor if wants else None for tensor, wants in zip(found, wanted, strict=True)), None


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor | None:
    """Compute the input gradient as an FFT convolution with the flipped kernel, if that is supported."""
    flipped = weight.transpose(0, 1).flip(2, 3)
    (top, bottom), (left, right) = geometry.margins
    down, across = (size - 1 for size in weight.shape[2:])
    # Negative margins crop.
    around = ConvGeometry(geometry.stride, ((down - top, down - bottom), (across - left, across - right)))
    if map_convolution_obstacle(gradient.shape[2:], flipped, around) is not None:
        return _plain_gradients(gradient, x, weight, geometry, (True, False, False))[0]
    return FFT.forward(gradient.contiguous(memory_format=torch.channels_last), flipped, None, around)


def _plain_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, geometry: ConvGeometry, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, ...]:
    padded, padding = _plain_input(x, geometry)
    to_padded, *rest = torch.ops.aten.convolution_backward(
        gradient, padded, weight, [len(weight)], geometry.stride, padding, [1, 1], False, [0, 0], 1, wanted
    )
    if to_padded is not None and padded is not x:
        (top, bottom), (left, right) = geometry.margins
        to_padded = F.pad(to_padded, (-left, -right, -top, -bottom))
    return to_padded, *rest
