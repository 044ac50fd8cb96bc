"""The convolution that begins an encoder, of bytes: scaled, padded and convolved, with 9/16 of the multiplications.

csrc/quarters.h says how. What the kernel does not serve goes the plain way: bytes into numbers, then PyTorch's.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.cpu import pointer
from hadamax.kernels.observations import Margins, scaled_observations
from hadamax.kernels.watchers import is_plain

FEWEST_TAPS = 16  # of a quarter of the kernel: with fewer the additions cost what the multiplications save


class ConvolutionGeometry(NamedTuple):
    """What a convolution does beside its weights. Bytes are divided by `scale`; `dtype` is that of the output."""

    stride: tuple[int, int]
    margins: Margins
    scale: float
    dtype: torch.dtype


class _Sizes(ctypes.Structure):
    """`Sizes` in csrc/quarters.h."""

    _fields_ = [
        ("apart", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("images", "inputs", "input_rows", "input_columns")),
        *((name, ctypes.c_int32) for name in ("channels", "rows", "columns")),
        *((name, ctypes.c_int32) for name in ("kernel_rows", "kernel_columns", "stride", "top", "left", "threads")),
        ("scale", ctypes.c_float),
    ]


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
        or not _fits(x, weight, bias, geometry)
        or byte_convolution_obstacle(weight, geometry) is not None
    ):
        return _plain(x, weight, bias, geometry)
    if not x[:1].is_contiguous():
        x = x.contiguous()
    elif torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        # The games may write the next observations over these; of stacks that share frames, a clone would keep strides.
        x = x.clone(memory_format=torch.contiguous_format)
    y: Tensor = _Convolution.apply(x, weight, bias, geometry)  # type: ignore[no-untyped-call]
    return y


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry) -> bool:
    """Whether the kernel can read these at all: what is wrong with others PyTorch says better."""
    return (
        x.ndim == weight.ndim == 4
        and x.device == weight.device
        and x.shape[1] == weight.shape[1]
        and (bias is None or (bias.device == x.device and bias.shape == weight.shape[:1]))
        and min(_output_size(x, weight.shape, geometry)) > 0
    )


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry) -> Tensor:
    numbers, padding = _plain_input(x, geometry)
    weight, bias = weight.to(numbers.dtype), None if bias is None else bias.to(numbers.dtype)
    return F.conv2d(numbers, weight, bias, geometry.stride, padding)


def byte_convolution_obstacle(weight: Tensor, geometry: ConvolutionGeometry) -> str | None:
    """Why the kernel does not serve a convolution of plain tensors; None where it does. Compiles it to find out."""
    (down, across), kernel, dtype = geometry.stride, weight.shape[2:], geometry.dtype
    if weight.device.type != "cpu" or dtype not in cpu.ELEMENTS or not cpu.wanted():
        return "not in float32 or bfloat16 on the CPU"
    if down != across or any(size % (2 * down) or size < 4 * down for size in kernel):
        return f"a kernel of {tuple(kernel)} is not an even number of strides of {geometry.stride}, from four on"
    taps = weight.shape[1] * kernel[0] * kernel[1] // 4
    if taps < FEWEST_TAPS or kernel[1] // down // 2 % (4 // dtype.itemsize):
        return f"{weight.shape[1]} channels of a kernel of {tuple(kernel)}: too few, or not in pairs"
    if dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported():
        return "the processor has tiles (AMX), with which the plain form is faster"
    library = _library(dtype)
    if library is None:
        return cpu.failure() or "there is no kernel"
    channels = library.hadamax_convolution_channels()
    if not channels:
        return f"there is no fast product of {dtype} here"
    return f"{weight.shape[0]} channels, not a multiple of {channels}" if weight.shape[0] % channels else None


def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    return cpu.load("convolution.cpp", (f"HADAMAX_ELEMENT={cpu.ELEMENTS[dtype]}",))


def _plain_input(x: Tensor, geometry: ConvolutionGeometry) -> tuple[Tensor, tuple[int, int]]:
    """The plain form's input, and what is left for its convolution to pad."""
    (top, bottom), (left, right) = geometry.margins
    if (top, left) == (bottom, right):
        return scaled_observations(x, geometry.scale, geometry.dtype), (top, left)
    return scaled_observations(x, geometry.scale, geometry.dtype, geometry.margins), (0, 0)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry) -> Tensor:
        ctx.save_for_backward(x)
        ctx.geometry = geometry
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        sizes = _sizes(x, weight.shape, geometry)
        shape = (len(x), sizes.channels, sizes.rows, sizes.columns)
        y = torch.empty(shape, dtype=geometry.dtype, device="cpu", memory_format=torch.channels_last)
        wide = weight.float().contiguous(), None if bias is None else bias.float().contiguous()
        _kernel(geometry).hadamax_convolution(
            ctypes.byref(sizes), pointer(x), pointer(wide[0]), pointer(wide[1]), pointer(y)
        )
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        x = x if x[:1].is_contiguous() else x.contiguous()  # who kept it may have laid it otherwise
        batched = not is_plain(gradient) or torch._C._functorch.is_legacy_batchedtensor(gradient)
        plain = batched or torch.is_grad_enabled()  # the latter where it will be differentiated again
        found = (_plain_gradients if plain else _gradients)(gradient, x, ctx.shape, ctx.geometry)
        to_weight, to_bias = (tensor.to(ctx.dtype) for tensor in found)
        _, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return None, to_weight if wants_weight else None, to_bias if wants_bias else None, None


def _gradients(gradient: Tensor, x: Tensor, shape: torch.Size, geometry: ConvolutionGeometry) -> tuple[Tensor, Tensor]:
    gradient = gradient.to(geometry.dtype).contiguous(memory_format=torch.channels_last)
    to_weight = torch.empty(shape, dtype=torch.float32, device="cpu")
    to_bias = torch.empty(shape[0], dtype=torch.float32, device="cpu")
    sizes = _sizes(x, shape, geometry)
    _kernel(geometry).hadamax_convolution_backward(
        ctypes.byref(sizes), pointer(x), pointer(gradient), pointer(to_weight), pointer(to_bias)
    )
    return to_weight, to_bias


def _plain_gradients(
    gradient: Tensor, x: Tensor, shape: torch.Size, geometry: ConvolutionGeometry
) -> tuple[Tensor, Tensor]:
    numbers, padding = _plain_input(x, geometry)
    weight = numbers.new_empty(shape)  # its values play no part
    _, to_weight, to_bias = torch.ops.aten.convolution_backward(
        gradient, numbers, weight, [shape[0]], geometry.stride, padding, [1, 1], False, [0, 0], 1, [False, True, True]
    )
    return to_weight, to_bias


def _kernel(geometry: ConvolutionGeometry) -> ctypes.CDLL:
    library = _library(geometry.dtype)
    if library is None:
        raise RuntimeError(f"the convolution of bytes lost its kernel: {cpu.failure()}")
    return library


def _sizes(x: Tensor, shape: torch.Size, geometry: ConvolutionGeometry) -> _Sizes:
    (top, _), (left, _) = geometry.margins
    place = (geometry.stride[0], top, left, torch.get_num_threads(), 1 / geometry.scale)
    return _Sizes(x.stride(0), *x.shape, shape[0], *_output_size(x, shape, geometry), *shape[2:], *place)


def _output_size(x: Tensor, shape: torch.Size, geometry: ConvolutionGeometry) -> list[int]:
    """Rows and columns."""
    each = zip(x.shape[2:], shape[2:], geometry.margins, geometry.stride, strict=True)
    return [(size + sum(margin) - kernel) // stride + 1 for size, kernel, margin, stride in each]
