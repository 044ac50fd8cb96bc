"""Which axis of an output counts the units: the channels of maps, or the last.

A layer with weights tells it of its own output. Behind it an activation has the same, as far as its shape shows: it may
stand after a permutation, a concatenation or a flattening. Axes are counted from the end.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
LAST = (nn.Linear, nn.Embedding, *RECURRENT)


class Told(NamedTuple):
    """What a layer told of its output."""

    axis: int
    units: int
    ndim: int


def tells(module: nn.Module) -> bool:
    """Whether it is a layer that knows the axis of its units."""
    return isinstance(module, (_ConvNd, *LAST)) or hasattr(module, "out_features") or hasattr(module, "out_channels")


def told(module: nn.Module, values: Tensor) -> Told | None:
    """Of a layer's output, where the layer knows."""
    axis = _own_axis(module, values)
    return None if axis is None else Told(axis, values.shape[axis], values.ndim)


def unit_axis(module: nn.Module, values: Tensor, before: Told | None) -> int:
    """Of an output [..., units] or [..., units, positions ...] with at least one axis.

    Args:
        before: what the layer that was called last told.
    """
    own = _own_axis(module, values)
    if own is not None:
        return own
    if before is not None:
        first = 0 if before.axis == -before.ndim else 1  # a batch comes first, unless the layer's output had none
        possible = [axis for axis in range(-values.ndim + first, 0) if values.shape[axis] == before.units]
        if before.axis in possible:
            return before.axis
        if possible:
            return possible[-1]
        if before.ndim == values.ndim:  # wider or narrower now: a concatenation, a gate
            return before.axis
    return 1 - values.ndim if values.ndim > 3 else -1


def _own_axis(module: nn.Module, values: Tensor) -> int | None:
    if isinstance(module, _ConvNd):
        return -len(module.kernel_size) - 1
    # A subclass may turn the maps around: torchvision's LayerNorm2d does.
    norm = type(module) in (nn.LayerNorm, nn.RMSNorm) and len(module.normalized_shape) == 1  # type: ignore[arg-type]
    if isinstance(module, LAST) or norm or getattr(module, "out_features", None) == values.shape[-1]:
        return -1
    if values.ndim == 4 and getattr(module, "out_channels", None) == values.shape[1]:
        return -3
    return None
