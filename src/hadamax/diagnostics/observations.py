"""Observations in one tensor, or in several by name: how many, some of them, on which device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Observations = Tensor | np.ndarray | Mapping[str, Any] | tuple[Any, ...]


def number_of(observations: Observations) -> int:
    """Rows of every part.

    Raises:
        TypeError: neither tensors nor arrays.
        ValueError: parts of different numbers of rows, or none at all.
    """
    numbers = {len(part) for part in _parts(observations)}
    if len(numbers) != 1:
        words = " and ".join(map(str, sorted(numbers, reverse=True)))
        raise ValueError(f"observations have parts of {words} rows" if numbers else "observations are none")
    return numbers.pop()


def rows_of(observations: Observations, start: int, stop: int) -> Any:
    """Some rows of every part, as tensors, in the same structure; numpy's floats in torch's default type."""
    return _each(observations, lambda part: _tensor(part[start:stop]))


def moved(observations: Observations, device: torch.device) -> Any:
    """The same on a device."""
    return _each(observations, lambda part: _tensor(part).to(device))


def device_of(observations: Observations) -> torch.device:
    """Where the first part is."""
    first = next(_parts(observations))
    return first.device if isinstance(first, Tensor) else torch.device("cpu")


def _tensor(part: Tensor | np.ndarray) -> Tensor:
    if isinstance(part, Tensor):
        return part
    found = torch.from_numpy(np.ascontiguousarray(part))
    return found.to(torch.get_default_dtype()) if found.is_floating_point() else found


def _parts(observations: Any) -> Iterator[Any]:
    if isinstance(observations, Mapping | tuple):
        for part in observations.values() if isinstance(observations, Mapping) else observations:
            yield from _parts(part)
    elif isinstance(observations, Tensor | np.ndarray) and observations.ndim:
        yield observations
    else:
        kind = type(observations).__name__
        raise TypeError(f"observations must be a tensor, an array, or a dict or tuple of them, not {kind}")


def _each(observations: Any, change: Callable[[Any], Tensor]) -> Any:
    if isinstance(observations, Mapping):
        return {name: _each(part, change) for name, part in observations.items()}
    if isinstance(observations, tuple):
        changed = (_each(part, change) for part in observations)
        return type(observations)(*changed) if hasattr(observations, "_fields") else tuple(changed)
    return change(observations)
