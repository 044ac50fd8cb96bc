"""Stride and margins of a convolution, and its sizes in the layout of the compiled kernels."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.kernels.observations import Margins


class ConvGeometry(NamedTuple):
    """Stride and margins of a convolution. Positive margins pad with zeros, negative ones crop."""

    stride: tuple[int, int]
    margins: Margins

    def output_size(self, size: torch.Size, kernel: torch.Size) -> list[int]:
        """Return rows and columns of the output for a map of `size`."""
        each = zip(size, kernel, self.margins, self.stride, strict=True)
        return [(s + sum(margin) - k) // stride + 1 for s, k, margin, stride in each]

    def only_pads(self) -> bool:
        """Return True if no margin crops; the kernel for bytes supports padding only."""
        return min(map(min, self.margins)) >= 0

    def padding(self) -> tuple[int, int] | None:
        """Return the padding argument of PyTorch's convolution; None if it is asymmetric or crops."""
        (top, bottom), (left, right) = self.margins
        return (top, left) if (top, left) == (bottom, right) and self.only_pads() else None

    def fits(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
        """Return True if shapes and devices are valid; for invalid ones, PyTorch's convolution raises the error."""
        return (
            x.ndim == weight.ndim == 4
            and x.device == weight.device
            and x.shape[1] == weight.shape[1]
            and (bias is None or (bias.device == x.device and bias.shape == weight.shape[:1]))
            and self.only_pads()
            and min(self.output_size(x.shape[2:], weight.shape[2:])) > 0
        )


class Sizes(ctypes.Structure):
    """The struct `Convolution` of csrc/convolution.h."""

    _fields_ = [
        ("image_stride", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("images", "inputs", "input_rows", "input_columns")),
        *((name, ctypes.c_int32) for name in ("channels", "rows", "columns")),
        *((name, ctypes.c_int32) for name in ("kernel_rows", "kernel_columns", "stride", "top", "left", "threads")),
        ("scale", ctypes.c_float),
    ]

    @classmethod
    def of(cls, x: Tensor, weight: torch.Size, geometry: ConvGeometry, scale: float) -> Sizes:
        """Return the sizes for x and a weight's size; the output is multiplied by `scale`."""
        (top, _), (left, _) = geometry.margins
        output = geometry.output_size(x.shape[2:], weight[2:])
        rest = (geometry.stride[0], top, left, torch.get_num_threads(), scale)
        return cls(x.stride(0), *x.shape, weight[0], *output, *weight[2:], *rest)
