"""Decorator for functions that torch.compile evaluates at trace time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def constant(function: F) -> F:
    """Mark `function` to be called once, when a graph is traced, with its result treated as a constant.

    Equivalent to `torch.compiler.assume_constant_result`, which would import the whole compiler and is slow to load.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
