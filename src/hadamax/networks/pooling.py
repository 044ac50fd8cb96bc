"""Pools as data, and the modules they become. Padding never wins a maximum: it is -inf."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from hadamax.networks.names import lookup
from hadamax.networks.windows import PaddingSetting, Window, make_window


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
    # A window that starts inside and runs over the end costs no padded copy: that is what ceil_mode means.
    # At stride 1 it would need a window more, not a longer one.
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
    """The module of a `Pool`. Raises TypeError or ValueError for settings that no map can be pooled with."""

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
