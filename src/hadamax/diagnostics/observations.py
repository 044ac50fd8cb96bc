"""Observations as one tensor or a nested dict or tuple of them, and evaluation mode while they are passed through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Observations = Tensor | np.ndarray | Mapping[str, Any] | tuple[Any, ...]


def number_of(observations: Observations) -> int:
    """Return the number of rows, which all parts must share.

    Raises:
        TypeError: a part is neither a tensor nor an array.
        ValueError: parts have different numbers of rows, or there are no parts.
    """
    numbers = {len(part) for part in _parts(observations)}
    if len(numbers) != 1:
        words = " and ".join(map(str, sorted(numbers, reverse=True)))
        raise ValueError(f"observations have parts of {words} rows" if numbers else "observations are empty")
    return numbers.pop()


def rows_of(observations: Observations, start: int, stop: int) -> Any:
    """Slice every part, as tensors in the same structure; numpy floats become torch's default dtype."""
    return _each(observations, lambda part: _tensor(part[start:stop]))


def moved(observations: Observations, device: torch.device) -> Any:
    """Move every part to a device, as tensors."""
    return _each(observations, lambda part: _tensor(part).to(device))


def device_of(observations: Observations) -> torch.device:
    """Return the device of the first part."""
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
        raise TypeError(f"observations must be a tensor, an array, or a dict or tuple of them, got {kind}")


def _each(observations: Any, change: Callable[[Any], Tensor]) -> Any:
    if isinstance(observations, Mapping):
        return {name: _each(part, change) for name, part in observations.items()}
    if isinstance(observations, tuple):
        changed = (_each(part, change) for part in observations)
        return type(observations)(*changed) if hasattr(observations, "_fields") else tuple(changed)
    return change(observations)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode; restore each module's own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
