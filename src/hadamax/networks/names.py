"""Checks of settings; each error names the setting, the value and the valid values in one line."""

import difflib
import math
import operator
from collections.abc import Mapping
from typing import SupportsIndex, TypeVar

T = TypeVar("T")
IntOrPair = int | tuple[int, int]


def lookup(setting: str, name: object, registry: Mapping[str, T]) -> T:
    """Return the entry of `registry` called `name`.

    Raises TypeError if `name` is not a string, ValueError (with the nearest valid name) if it is unknown.
    """
    valid = ", ".join(registry)
    if not isinstance(name, str):
        raise TypeError(f"{setting} must be a name (one of: {valid}), not {name!r}")
    if name in registry:
        return registry[name]
    nearest = difflib.get_close_matches(name, registry, n=1)
    hint = f'did you mean "{nearest[0]}"? ' if nearest else ""
    raise ValueError(f'{setting} "{name}" is unknown; {hint}expected one of {valid}')


def whole(setting: str, value: SupportsIndex, minimum: int = 1) -> int:
    """Return `value` as an int. Raises TypeError if it is not a whole number, ValueError below `minimum`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{setting} must be a whole number, {minimum} or more, not {value!r}")
    number = operator.index(value)
    if number < minimum:
        raise ValueError(f"{setting} must be {minimum} or more, not {number}")
    return number


def pair(setting: str, value: IntOrPair) -> tuple[int, int]:
    """Return (vertical, horizontal) from one positive whole number or a pair of them."""
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ValueError(f"{setting} must be a number or a pair (height, width), not {value!r}")
        return whole(setting, value[0]), whole(setting, value[1])
    return whole(setting, value), whole(setting, value)


def above_zero(setting: str, value: float) -> float:
    """Return `value` as a float. Raises TypeError if it is not a number, ValueError if not finite and above 0."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{setting} must be a number above 0, not {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{setting} must be a finite number above 0, not {value}")
    return float(value)
