"""Bounds of settings, declared beside each field.

    learning_rate: PositiveFloat = 2.5e-4

A dataclass that derives from `CheckedSettings` refuses a value outside the bounds of its field's type.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Any, NamedTuple, get_type_hints

from hadamax.errors import UserError


class Bounds(NamedTuple):
    """A closed interval of finite numbers; `low` itself is excluded if `above` is set."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def contain(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"above {self.low:g}, up to {self.high:g}" if self.above else f"{self.low:g} to {self.high:g}"
        if self.low == -math.inf:
            return "a finite number"
        return f"a finite number above {self.low:g}" if self.above else f"{self.low:g} or more"


PositiveInt = Annotated[int, Bounds(1)]
CountFrom0 = Annotated[int, Bounds(0)]
AtLeast2 = Annotated[int, Bounds(2)]
Finite = Annotated[float, Bounds()]
PositiveFloat = Annotated[float, Bounds(0, above=True)]
Weight = Annotated[float, Bounds(0)]
Probability = Annotated[float, Bounds(0, 1)]
PositiveProbability = Annotated[float, Bounds(0, 1, above=True)]


@cache
def bounds_of(settings: Any) -> dict[str, Bounds]:
    """Return the declared bounds of a settings class by field name."""
    hints = get_type_hints(settings, include_extras=True)
    return {
        name: extra
        for name, kind in hints.items()
        for extra in getattr(kind, "__metadata__", ())
        if type(extra) is Bounds
    }


class CheckedSettings:
    """Base class of settings dataclasses that checks every declared bound."""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for name, bounds in bounds_of(cls).items():
            value: Any = getattr(self, name)
            if value is not None and not bounds.contain(value):
                raise UserError(f"{name}: {value} is out of range; expected {bounds}")


def require_groups(settings: Any) -> None:
    """Check that each group of environments has at least one.

    Raises:
        UserError: there are more groups than environments.
    """
    if settings.env_groups > settings.num_envs:
        raise UserError(
            f"env_groups: {settings.env_groups} is out of range; expected 0 to num_envs = {settings.num_envs}"
        )


def require_divisor(settings: Any) -> None:
    """Check that the minibatches of a rollout have the same size.

    Raises:
        UserError: `num_minibatches` does not divide num_envs * num_steps.
    """
    rows, number = settings.num_envs * settings.num_steps, settings.num_minibatches
    if rows % number:
        divisor = next(n for n in range(min(number, rows), 0, -1) if rows % n == 0)
        raise UserError(
            f"num_minibatches: {number} does not divide num_envs * num_steps = {rows}; expected a divisor, "
            f"such as {divisor}"
        )


def require_order(settings: Any) -> None:
    """Check that the range of values is not empty.

    Raises:
        UserError: `v_min` is not below `v_max`.
    """
    if not settings.v_min < settings.v_max:
        raise UserError(f"v_min: {settings.v_min} is not below v_max = {settings.v_max}; expected a smaller number")
