"""The axis of a layer's output that counts its units: the channels of maps, otherwise the last axis.

A layer with weights determines the unit axis of its own output. An activation gets its unit axis from the last such
layer by comparing shapes, because a permutation, a concatenation or a flattening may lie in between. A permutation of
axes of equal size cannot be detected. Axes are negative: counted from the end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class UnitAxis(NamedTuple):
    """Unit axis and shape of a layer's output."""

    axis: int
    shape: tuple[int, ...]

    @property
    def units(self) -> int:
        return self.shape[self.axis]


def has_unit_axis(module: nn.Module) -> bool:
    """Return True if the layer's class determines the unit axis of its output, for some input shape."""
    return _axis_and_units(module, 4) is not None


def own_unit_axis(module: nn.Module, values: Tensor) -> UnitAxis | None:
    """Return the unit axis of a layer's output if the layer's class determines it, else None."""
    axis = _own_axis(module, values)
    return None if axis is None else UnitAxis(axis, tuple(values.shape))


def unit_axis(module: nn.Module, values: Tensor, before: UnitAxis | None) -> int:
    """Return the unit axis of an output [..., units] or [..., units, positions ...] with at least one axis.

    Args:
        before: unit axis of the last layer called before this module whose class determines it.
    """
    own = _own_axis(module, values)
    if own is not None:
        return own
    found = _axis_behind(before, tuple(values.shape)) if before is not None else None
    if found is not None:
        return found
    return 1 - values.ndim if values.ndim > 3 else -1


def _axis_behind(before: UnitAxis, shape: tuple[int, ...]) -> int | None:
    first = 0 if before.axis == -len(before.shape) else 1  # the batch axis, unless the layer's output had none
    possible = [axis for axis in range(first - len(shape), 0) if shape[axis] == before.units]
    if len(shape) == len(before.shape):
        moved = sorted(shape) == sorted(before.shape)  # otherwise a concatenation or a gate changed the width
        return possible[-1] if moved and possible and before.axis not in possible else before.axis
    if math.prod(shape) == math.prod(before.shape):  # reshaped
        return before.axis if before.axis in possible else possible[-1] if possible else None
    return possible[0] if len(possible) == 1 and len(shape) < len(before.shape) else None


def _own_axis(module: nn.Module, values: Tensor) -> int | None:
    found = _axis_and_units(module, values.ndim)
    if found is None:
        return None
    axis, units = found
    # A subclass may change the shape of the output, for example by pooling or by turning patches into a sequence.
    return axis if values.ndim >= -axis and values.shape[axis] == units else None


def _axis_and_units(module: nn.Module, ndim: int) -> tuple[int, int] | None:
    """Return the unit axis and the number of units that the layer's class determines, or None."""
    channels = min(1 - ndim, -1)
    if isinstance(module, _ConvNd):
        return -len(module.kernel_size) - 1, module.out_channels
    if isinstance(module, _NormBase):
        return channels, module.num_features
    if isinstance(module, nn.GroupNorm):
        return channels, module.num_channels
    if type(module) in (nn.LayerNorm, nn.RMSNorm):  # subclasses such as torchvision's LayerNorm2d permute axes
        shape: tuple[int, ...] = tuple(module.normalized_shape)  # type: ignore[arg-type]
        return (-1, shape[0]) if len(shape) == 1 else None
    if isinstance(module, nn.RNNBase):
        return -1, (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    for name, axis in (("hidden_size", -1), ("embedding_dim", -1), ("out_features", -1), ("out_channels", channels)):
        units = getattr(module, name, None)
        if isinstance(units, int) and (name != "hidden_size" or isinstance(module, nn.RNNCellBase)):
            return axis, units
    return None
