"""Validation of the inputs of measurements."""

from __future__ import annotations

import torch
from torch import Tensor


def checked(name: str, values: Tensor, *, samples: int = 1, units: int = 1) -> Tensor:
    """Check that `values` [N, d] can be measured, and return them detached.

    Raises:
        TypeError: `values` is not a tensor of real numbers.
        ValueError: the shape is wrong, there are too few samples or units, or a value is not finite.
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor [samples, units], got {type(values).__name__}")
    if values.dtype == torch.bool or values.is_complex():
        raise TypeError(f"{name} must be real numbers, got {values.dtype}")
    if values.ndim != 2:
        raise ValueError(f"{name} must be [samples, units], got {list(values.shape)}")
    if values.shape[0] < samples:
        raise ValueError(f"{name} has {values.shape[0]} samples; expected {samples} or more")
    if values.shape[1] < units:
        raise ValueError(f"{name} has {values.shape[1]} units; expected {units} or more")
    values = values.detach()
    if values.numel() and not all(end.isfinite() for end in values.aminmax()):
        raise ValueError(f"{name} contains a value that is not finite")
    return values


def between(name: str, value: float, low: float, high: float) -> float:
    """Return `value` if low < value < high, otherwise (also for NaN) raise ValueError."""
    if not low < value < high:
        raise ValueError(f"{name} {value} is out of range; expected more than {low:g} and less than {high:g}")
    return value
