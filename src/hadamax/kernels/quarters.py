"""Convolutions with 9/16 or 27/64 of the multiplications, on the CPU: calls into the compiled kernel.

csrc/quarters.h says how, `byte_convolution` and `map_convolution` which convolutions come here.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.cpu import enough, pointer
from hadamax.kernels.place import Place

SOURCE = "convolution.cpp"
FEWEST_TAPS = 16  # of a quarter of the kernel: with fewer the additions cost what the multiplications save


class _Sizes(ctypes.Structure):
    """`Sizes` in csrc/quarters.h."""

    _fields_ = [
        ("apart", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("images", "inputs", "input_rows", "input_columns")),
        *((name, ctypes.c_int32) for name in ("channels", "rows", "columns")),
        *((name, ctypes.c_int32) for name in ("kernel_rows", "kernel_columns", "stride", "top", "left")),
        *((name, ctypes.c_int32) for name in ("threads", "twice")),
        ("scale", ctypes.c_float),
    ]


class Quarters(NamedTuple):
    """A kernel: of bytes into `dtype`, float32 or bfloat16, or of float32 into float32."""

    inputs: torch.dtype
    dtype: torch.dtype

    def obstacle(self, weight: torch.Size, stride: tuple[int, int]) -> str | None:
        """Why it does not serve a weight [out, in, kernel rows, kernel columns]; None where it does.

        Compiles it to find out.
        """
        (down, across), (outputs, inputs, *kernel) = stride, weight
        if down != across or any(size % (2 * down) or size < 4 * down for size in kernel):
            return f"a kernel of {tuple(kernel)} is not an even number of strides of {stride}, from four on"
        taps = inputs * kernel[0] * kernel[1] // 4
        if taps < FEWEST_TAPS or kernel[1] // down // 2 % (4 // self.dtype.itemsize):
            return f"{inputs} channels of a kernel of {tuple(kernel)}: too few, or not in pairs"
        library = self._library()
        if library is None:
            return cpu.failure(SOURCE) or "there is no kernel"
        channels, groups = library.hadamax_convolution_channels(), library.hadamax_convolution_inputs()
        if not channels:
            return f"there is no fast product of {self.dtype} here"
        if outputs % channels:
            return f"{outputs} channels, not a multiple of {channels}"
        return f"{inputs} channels, not a multiple of {groups}" if inputs % groups else None

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, place: Place, scale: float = 1.0) -> Tensor:
        """[N, out, H', W'], channels-last, the products multiplied by `scale`.

        Args:
            x: each image of it contiguous, channels-last where it is no bytes.
        """
        y = self.room(x, weight, place)
        self.convolve(x, weight, bias, place, scale, y)
        return y

    def room(self, x: Tensor, weight: Tensor, place: Place) -> Tensor:
        """An empty output."""
        shape = (len(x), len(weight), *place.output_size(x.shape[2:], weight.shape[2:]))
        return torch.empty(shape, dtype=self.dtype, device="cpu", memory_format=torch.channels_last)

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        place: Place,
        scale: float,
        y: Tensor | None,
    ) -> None:
        """Into y, which may be None where something follows that takes it in."""
        sizes = self._sizes(x, weight.shape, place, scale)
        wide = weight.float().contiguous(), None if bias is None else bias.float().contiguous()
        enough(self._found().hadamax_convolution(ctypes.byref(sizes), *map(pointer, (x, *wide, y)), None))

    def gradients(
        self,
        gradient: Tensor,
        x: Tensor,
        shape: torch.Size,
        place: Place,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Of a weight of `shape` and of the bias, float32, from that of the output."""
        gradient = gradient.to(self.dtype).contiguous(memory_format=torch.channels_last)
        to_weight = torch.empty(shape, dtype=torch.float32, device="cpu")
        to_bias = torch.empty(shape[0], dtype=torch.float32, device="cpu")
        sizes = self._sizes(x, shape, place, scale)
        tensors = (x, gradient, to_weight, to_bias)
        enough(self._found().hadamax_convolution_backward(ctypes.byref(sizes), *map(pointer, tensors), None))
        return to_weight, to_bias

    def _library(self) -> ctypes.CDLL | None:
        name, dtype = ("uint8_t" if self.inputs == torch.uint8 else cpu.ELEMENTS[self.inputs]), cpu.ELEMENTS[self.dtype]
        return cpu.load(SOURCE, (f"HADAMAX_ELEMENT={dtype}", f"HADAMAX_INPUT={name}"))

    def _found(self) -> ctypes.CDLL:
        library = self._library()
        if library is None:
            raise RuntimeError(f"the convolution by quarters lost its kernel: {cpu.failure(SOURCE)}")
        return library

    def _twice(self, weight: torch.Size, place: Place) -> bool:
        """Whether rows are taken apart twice: bfloat16 would round what comes of it, and for maps it brings nothing."""
        rows = weight[2] // place.stride[0]
        exact = self.inputs == torch.uint8 and self.dtype == torch.float32
        return exact and rows % 4 == 0 and weight[1:].numel() // 8 >= FEWEST_TAPS

    def _sizes(self, x: Tensor, shape: torch.Size, place: Place, scale: float) -> _Sizes:
        (top, _), (left, _) = place.margins
        output = place.output_size(x.shape[2:], shape[2:])
        rest = (place.stride[0], top, left, torch.get_num_threads(), self._twice(shape, place), scale)
        return _Sizes(x.stride(0), *x.shape, shape[0], *output, *shape[2:], *rest)
