"""A mark for the compiler of graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def constant(function: F) -> F:
    """`function` asked once, when a graph is traced, and its answer kept.

    This is `torch.compiler.assume_constant_result` without its import of the whole compiler, which takes longer than
    PyTorch itself.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
