"""Ctrl-C and SIGTERM: stop at once where that loses little, else at the end of the iteration."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interrupted(BaseException):
    """Raised inside an iteration, where the run has a copy of the state before it."""


class Interrupts:
    """While entered, the first signal sets `pending`, and breaks an iteration off where `breakable`.

    A second Ctrl-C kills. A second SIGTERM does nothing: a scheduler and the sweep may well send one each.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.pending = False
        self.breakable = False
        self._before: list[object] = []

    def __enter__(self) -> Interrupts:
        try:
            self._before = [signal.signal(number, self._receive) for number in self.SIGNALS]
        except ValueError:  # not in the main thread: whoever owns that one handles signals
            self._before = []
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in zip(self.SIGNALS, self._before, strict=False):
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.pending = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.breakable:
            raise Interrupted
