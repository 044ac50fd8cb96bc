"""An encoder's first convolution, of uint8 frames: scaling, padding and an FFT convolution in one kernel.

The algorithm is described in csrc/fft_convolution.h. Inputs that the kernel does not support are converted to floating
point and convolved by PyTorch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.conv_bias_gradient import conv2d
from hadamax.kernels.conv_geometry import ConvGeometry
from hadamax.kernels.dispatch import can_call_directly, needs_differentiable_backward, tensor_signatures
from hadamax.kernels.fft_convolution import FftConvolution
from hadamax.kernels.observations import Margins, scaled_observations


class ByteConvConfig(NamedTuple):
    """Settings of a convolution of bytes: bytes are divided by `scale`; `dtype` is the output's."""

    stride: tuple[int, int]
    margins: Margins
    scale: float
    dtype: torch.dtype

    @property
    def geometry(self) -> ConvGeometry:
        """Stride and margins."""
        return ConvGeometry(self.stride, self.margins)


def byte_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, config: ByteConvConfig) -> Tensor:
    """Convolve uint8 [N, C, H, W] / scale, padded with zeros: -> [N, out, H', W'], channels-last.

    Args:
        weight: [out, C, kernel rows, kernel columns].
        bias: [out] or None.

    Raises:
        TypeError: x is not uint8.
    """
    if x.dtype != torch.uint8:
        raise TypeError(f"byte_convolution expects uint8, got {x.dtype}")
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if (
        not all(map(can_call_directly, tensors))
        or not config.geometry.fits(x, weight, bias)
        or byte_convolution_obstacle(x.shape[2:], weight, config) is not None
    ):
        return plain_convolution(x, weight, bias, config)
    needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    y: Tensor = _Convolution.apply(prepare_input(x, needs_gradient), weight, bias, config)  # type: ignore[no-untyped-call]
    return y


def prepare_input(x: Tensor, needs_gradient: bool) -> Tensor:
    """Make images contiguous for the kernel, and copy them if a backward pass will read them."""
    if not x[:1].is_contiguous():
        return x.contiguous()
    # The environments may overwrite the memory. A plain clone of stacks that share frames would keep their strides.
    return x.clone(memory_format=torch.contiguous_format) if needs_gradient else x


def plain_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, config: ByteConvConfig) -> Tensor:
    """Convolve bytes with PyTorch's own operators."""
    numbers, padding = _plain_input(x, config)
    weight, bias = weight.to(numbers.dtype), None if bias is None else bias.to(numbers.dtype)
    return conv2d(numbers, weight, bias, config.stride, padding)


def byte_convolution_obstacle(size: torch.Size, weight: Tensor, config: ByteConvConfig) -> str | None:
    """Return why the kernel does not support frames of this height and width, or None. May compile it."""
    dtype = config.dtype
    if weight.device.type != "cpu" or dtype not in cpu.ELEMENTS or not cpu.wanted():
        return "not in float32 or bfloat16 on the CPU"
    if dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported():
        return "the processor has AMX, with which PyTorch's convolution is faster"
    return FftConvolution(torch.uint8, dtype).obstacle(size, weight.shape, config.geometry)


def _plain_input(x: Tensor, config: ByteConvConfig) -> tuple[Tensor, tuple[int, int]]:
    """Return the input of PyTorch's convolution, and the padding still to be applied by it."""
    padding = config.geometry.padding()
    if padding is not None:
        return scaled_observations(x, config.scale, config.dtype), padding
    return scaled_observations(x, config.scale, config.dtype, config.margins), (0, 0)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, config: ByteConvConfig) -> Tensor:
        ctx.save_for_backward(x)
        ctx.config, ctx.signatures = config, tensor_signatures(x)
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        return FftConvolution(torch.uint8, config.dtype).forward(x, weight, bias, config.geometry, 1 / config.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        x = x if x[:1].is_contiguous() else x.contiguous()  # saved-tensor hooks may change strides
        plain = needs_differentiable_backward(gradient) or tensor_signatures(x) != ctx.signatures
        found = (_plain_gradients if plain else _gradients)(gradient, x, ctx.shape, ctx.config)
        to_weight, to_bias = (tensor.to(ctx.dtype) for tensor in found)
        _, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return None, to_weight if wants_weight else None, to_bias if wants_bias else None, None


def _gradients(gradient: Tensor, x: Tensor, shape: torch.Size, config: ByteConvConfig) -> tuple[Tensor, Tensor]:
    return FftConvolution(torch.uint8, config.dtype).gradients(gradient, x, shape, config.geometry, 1 / config.scale)


def _plain_gradients(gradient: Tensor, x: Tensor, shape: torch.Size, config: ByteConvConfig) -> tuple[Tensor, Tensor]:
    numbers, padding = _plain_input(x, config)
    weight = numbers.new_empty(shape)  # its values are not used
    _, to_weight, to_bias = torch.ops.aten.convolution_backward(
        gradient, numbers, weight, [shape[0]], config.stride, padding, [1, 1], False, [0, 0], 1, [False, True, True]
    )
    return to_weight, to_bias
