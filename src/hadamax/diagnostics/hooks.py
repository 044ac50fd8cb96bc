"""Hooks that copies of a module do not inherit, and eager execution of compiled modules while hooks are active."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any

import torch


class Hook:
    """Forward hook that calls `call(owner, *args)`.

    Copies of the module, including pickles, get a hook that does nothing, so a target network copied from a probed
    network is not probed. The hook holds a weak reference to its owner. Calls that recompute activations in a backward
    pass (activation checkpointing) are ignored, since the forward pass was already recorded.
    """

    def __init__(self, owner: Any, call: Callable[..., None]) -> None:
        self._owner, self._call = weakref.ref(owner), call

    def __call__(self, *args: Any) -> None:
        owner = self._owner()
        if owner is not None and torch._C._current_graph_task_id() == -1:
            self._call(owner, *args)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return do_nothing

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _get_do_nothing, ()


def do_nothing(*args: Any) -> None:
    """Replace the hook in copies of a module."""


def _get_do_nothing() -> Callable[..., None]:
    return do_nothing


_lock = Lock()
_active = 0
_stance: AbstractContextManager[None] | None = None


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled modules eagerly, in the whole process, until the last active `uncompiled` block ends."""
    global _active, _stance
    with _lock:
        if _active == 0:
            _stance = torch.compiler.set_stance("force_eager")
            _stance.__enter__()
        _active += 1
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if _active == 0 and _stance is not None:
                _stance.__exit__(None, None, None)
                _stance = None
