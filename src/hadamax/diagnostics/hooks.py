"""Hooks that belong to one network and one owner, and modules that run uncompiled while somebody watches."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any

import torch


class Hook:
    """Calls `call(owner, *seen)`, and is nothing to anybody else.

    Copies of the module, pickles included, carry a hook that does nothing: a target network is not watched because
    the network that it was copied from is. It does not keep its owner alive. What is computed again in a backward pass
    (activation checkpoints) has been seen before and is passed over.
    """

    def __init__(self, owner: Any, call: Callable[..., None]) -> None:
        self._owner, self._call = weakref.ref(owner), call

    def __call__(self, *seen: Any) -> None:
        owner = self._owner()
        if owner is not None and torch._C._current_graph_task_id() == -1:
            self._call(owner, *seen)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return nothing

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_nothing, ()


def nothing(*seen: Any) -> None:
    """What copies have for a hook."""


def _make_nothing() -> Callable[..., None]:
    return nothing


_lock = Lock()
_watchers = 0
_stance: AbstractContextManager[None] | None = None


@contextmanager
def uncompiled() -> Iterator[None]:
    """Compiled modules run uncompiled, in the whole process, until the last of those who asked for it leaves."""
    global _watchers, _stance
    with _lock:
        if _watchers == 0:
            _stance = torch.compiler.set_stance("force_eager")
            _stance.__enter__()
        _watchers += 1
    try:
        yield
    finally:
        with _lock:
            _watchers -= 1
            if _watchers == 0 and _stance is not None:
                _stance.__exit__(None, None, None)
                _stance = None
