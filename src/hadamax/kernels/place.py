"""Where a convolution's windows lie, and its sizes as the compiled kernels take them."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.kernels.observations import Margins


class Place(NamedTuple):
    """Where the windows of a convolution lie."""

    stride: tuple[int, int]
    margins: Margins

    def output_size(self, size: torch.Size, kernel: torch.Size) -> list[int]:
        """Rows and columns of what comes of a map of `size`."""
        each = zip(size, kernel, self.margins, self.stride, strict=True)
        return [(s + sum(margin) - k) // stride + 1 for s, k, margin, stride in each]

    def only_adds(self) -> bool:
        """Whether no margin is negative, which would cut the map: the kernel of bytes knows zeros around it alone."""
        return min(map(min, self.margins)) >= 0

    def padding(self) -> tuple[int, int] | None:
        """What PyTorch's convolution can be told to pad; None where that is another number before than after."""
        (top, bottom), (left, right) = self.margins
        return (top, left) if (top, left) == (bottom, right) and self.only_adds() else None

    def fits(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
        """Whether a convolution can be made of these at all: what is wrong with others PyTorch says better."""
        return (
            x.ndim == weight.ndim == 4
            and x.device == weight.device
            and x.shape[1] == weight.shape[1]
            and (bias is None or (bias.device == x.device and bias.shape == weight.shape[:1]))
            and self.only_adds()
            and min(self.output_size(x.shape[2:], weight.shape[2:])) > 0
        )


class Sizes(ctypes.Structure):
    """`Convolution` in csrc/convolution.h."""

    _fields_ = [
        ("apart", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("images", "inputs", "input_rows", "input_columns")),
        *((name, ctypes.c_int32) for name in ("channels", "rows", "columns")),
        *((name, ctypes.c_int32) for name in ("kernel_rows", "kernel_columns", "stride", "top", "left", "threads")),
        ("scale", ctypes.c_float),
    ]

    @classmethod
    def of(cls, x: Tensor, weight: torch.Size, place: Place, scale: float) -> Sizes:
        """Of x and a weight of a size; the products are multiplied by `scale`."""
        (top, _), (left, _) = place.margins
        output = place.output_size(x.shape[2:], weight[2:])
        rest = (place.stride[0], top, left, torch.get_num_threads(), scale)
        return cls(x.stride(0), *x.shape, weight[0], *output, *weight[2:], *rest)
