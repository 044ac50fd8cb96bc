"""Sliding windows of convolutions and pools: their geometry, and the pooling modules.

"same" is TensorFlow's and Flax's SAME: ceil(size / stride) outputs, with the padding split evenly and an odd pixel at
the end. It depends on the input's size, so it is computed for each input. Max-pooling pads with -inf.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from hadamax.networks.names import IntOrPair, lookup, pair, whole

PaddingSetting = str | int
Margins = tuple[tuple[int, int], tuple[int, int]]

# Name -> padding of a kernel on both sides; None: SAME, computed from the input's size.
PADDINGS: dict[str, Callable[[int], int | None]] = {
    "same": lambda kernel: None,
    "valid": lambda kernel: 0,
    "half": lambda kernel: kernel // 2,
}


@dataclass(frozen=True)
class Window:
    """Kernel, stride and fixed margin (None: SAME), each (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    margin: tuple[int | None, int | None]

    def margins(self, height: int, width: int) -> Margins:
        """Return the padding ((top, bottom), (left, right)) for a map of this size."""
        return self._margin(0, height), self._margin(1, width)

    def _margin(self, axis: int, size: int) -> tuple[int, int]:
        fixed = self.margin[axis]
        if fixed is not None:
            return fixed, fixed
        kernel, stride = self.kernel[axis], self.stride[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the output; 0 if the kernel does not fit."""
        return self._output(0, height), self._output(1, width)

    def _output(self, axis: int, size: int) -> int:
        if size < 1:
            return 0
        padded = size + sum(self._margin(axis, size))
        return max((padded - self.kernel[axis]) // self.stride[axis] + 1, 0)


def make_window(kernel: IntOrPair, stride: IntOrPair, padding: PaddingSetting) -> Window:
    """Return a `Window` from settings. Raises TypeError or ValueError that names the invalid setting."""
    kernel, stride = pair("kernel", kernel), pair("stride", stride)
    if isinstance(padding, str):
        margin = lookup("padding", padding, PADDINGS)
        return Window(kernel, stride, (margin(kernel[0]), margin(kernel[1])))
    margin_width = whole("padding", padding, minimum=0)
    return Window(kernel, stride, (margin_width, margin_width))


@dataclass(frozen=True)
class Pool:
    """A pooling window; padding "same" (Flax's), "valid" or a number of pixels; kind "max" or "average"."""

    window: int
    stride: int
    padding: PaddingSetting = "same"
    kind: str = "max"


def max_pool(x: Tensor, window: Window) -> Tensor:
    """[N, C, H, W] -> [N, C, H', W'], the maximum of each window."""
    (top, bottom), (left, right) = window.margins(x.shape[-2], x.shape[-1])
    uneven = (bottom > top, right > left)
    # With ceil_mode a window may extend past the end, which needs no padded copy. At stride 1 SAME needs one more
    # window instead.
    if any(odd and stride == 1 for odd, stride in zip(uneven, window.stride, strict=True)):
        x = F.pad(x, (left, right, top, bottom), value=-float("inf"))
        return F.max_pool2d(x, window.kernel, window.stride)
    return F.max_pool2d(x, window.kernel, window.stride, (top, left), ceil_mode=any(uneven))


def average_pool(x: Tensor, window: Window) -> Tensor:
    """[N, C, H, W] -> [N, C, H', W'], the mean of each window; padding counts as zeros, as in Flax."""
    (top, bottom), (left, right) = window.margins(x.shape[-2], x.shape[-1])
    if (top, left) != (bottom, right):
        x = F.pad(x, (left, right, top, bottom))
        top = left = 0
    return F.avg_pool2d(x, window.kernel, window.stride, (top, left))


POOLS: dict[str, Callable[[Tensor, Window], Tensor]] = {"max": max_pool, "average": average_pool}


class Pooling(nn.Module):
    """The module of a `Pool`. Raises TypeError or ValueError for invalid settings."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.window = make_window(pool.window, pool.stride, pool.padding)
        self._function = lookup("pool kind", pool.kind, POOLS)
        if any(margin is not None and margin > pool.window // 2 for margin in self.window.margin):
            raise ValueError(f"pool padding must be at most half its window ({pool.window // 2}), not {pool.padding!r}")

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x, self.window)

    def extra_repr(self) -> str:
        return str(self.pool)
