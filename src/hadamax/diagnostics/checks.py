"""What every measurement asks of its input, said in one line where it is not so."""

from __future__ import annotations

import torch
from torch import Tensor


def checked(name: str, values: Tensor, *, samples: int = 1, units: int = 1) -> Tensor:
    """`values` [N, d], detached, if it can be measured: finite numbers, enough samples, enough units.

    Raises:
        TypeError: not a tensor of real numbers.
        ValueError: another shape, too few samples or units, or a value that is not a finite number.
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor [samples, units], not {type(values).__name__}")
    if values.dtype == torch.bool or values.is_complex():
        raise TypeError(f"{name} must be real numbers, not {values.dtype}")
    if values.ndim != 2:
        raise ValueError(f"{name} must be [samples, units], not {list(values.shape)}")
    if values.shape[0] < samples:
        raise ValueError(f"{name} has {values.shape[0]} samples; {samples} or more are needed")
    if values.shape[1] < units:
        raise ValueError(f"{name} has {values.shape[1]} units; {units} or more are needed")
    values = values.detach()
    if values.numel() and not all(end.isfinite() for end in values.aminmax()):
        raise ValueError(f"{name} holds a value that is not a finite number")
    return values


def between(name: str, value: float, low: float, high: float) -> float:
    """`value` if it lies strictly between the two. Raises ValueError otherwise, NaN included."""
    if not low < value < high:
        raise ValueError(f"{name} {value} is out of range; valid: more than {low:g} and less than {high:g}")
    return value
