"""Which axis of an output counts the units: the channels of maps, or the last.

A layer with weights tells it of its own output. Behind it an activation has the same, as far as shapes show: it may
stand after a permutation, a concatenation or a flattening. Where sizes are equal, a permutation cannot be told. Axes
are counted from the end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class Told(NamedTuple):
    """What a layer told of its output."""

    axis: int
    shape: tuple[int, ...]

    @property
    def units(self) -> int:
        return self.shape[self.axis]


def tells(module: nn.Module) -> bool:
    """Whether it is a layer that knows the axis of its units, in some shape."""
    return _place(module, 4) is not None


def told(module: nn.Module, values: Tensor) -> Told | None:
    """Of a layer's output, where the layer knows."""
    axis = _own_axis(module, values)
    return None if axis is None else Told(axis, tuple(values.shape))


def unit_axis(module: nn.Module, values: Tensor, before: Told | None) -> int:
    """Of an output [..., units] or [..., units, positions ...] with at least one axis.

    Args:
        before: what the layer that was called last told.
    """
    own = _own_axis(module, values)
    if own is not None:
        return own
    found = _axis_behind(before, tuple(values.shape)) if before is not None else None
    if found is not None:
        return found
    return 1 - values.ndim if values.ndim > 3 else -1


def _axis_behind(before: Told, shape: tuple[int, ...]) -> int | None:
    first = 0 if before.axis == -len(before.shape) else 1  # a batch comes first, unless the layer's output had none
    possible = [axis for axis in range(first - len(shape), 0) if shape[axis] == before.units]
    if len(shape) == len(before.shape):
        moved = sorted(shape) == sorted(before.shape)  # else wider or narrower: a concatenation, a gate
        return possible[-1] if moved and possible and before.axis not in possible else before.axis
    if math.prod(shape) == math.prod(before.shape):  # the same numbers in other axes
        return before.axis if before.axis in possible else possible[-1] if possible else None
    return possible[0] if len(possible) == 1 and len(shape) < len(before.shape) else None


def _own_axis(module: nn.Module, values: Tensor) -> int | None:
    place = _place(module, values.ndim)
    if place is None:
        return None
    axis, units = place
    # A subclass may give something else than the layer that it is: pooled maps, patches as a sequence.
    return axis if values.ndim >= -axis and values.shape[axis] == units else None


def _place(module: nn.Module, ndim: int) -> tuple[int, int] | None:
    """Axis and number of units by the layer's class."""
    channels = min(1 - ndim, -1)
    if isinstance(module, _ConvNd):
        return -len(module.kernel_size) - 1, module.out_channels
    if isinstance(module, _NormBase):
        return channels, module.num_features
    if isinstance(module, nn.GroupNorm):
        return channels, module.num_channels
    if type(module) in (nn.LayerNorm, nn.RMSNorm):  # subclasses turn maps around: torchvision's LayerNorm2d
        shape: tuple[int, ...] = tuple(module.normalized_shape)  # type: ignore[arg-type]
        return (-1, shape[0]) if len(shape) == 1 else None
    if isinstance(module, nn.RNNBase):
        return -1, (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    for name, axis in (("hidden_size", -1), ("embedding_dim", -1), ("out_features", -1), ("out_channels", channels)):
        units = getattr(module, name, None)
        if isinstance(units, int) and (name != "hidden_size" or isinstance(module, nn.RNNCellBase)):
            return axis, units
    return None
