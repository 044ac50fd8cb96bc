"""Ctrl-C and SIGTERM: at once where nothing can be lost, else where little is lost, else at the iteration's end."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import CodeType, FrameType, TracebackType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130  # the exit code
LINE = "hadamax: interrupted; what was written stays as it is"
IMPORTING = "<frozen importlib._bootstrap>"


class Interrupted(BaseException):
    """Raised inside an iteration, where the run has a copy of the state before it."""


class SignalHandler:
    """The command line's handler: raises KeyboardInterrupt, and remembers that a signal `came`.

    Libraries catch everything around what they import (a bare `except:`), and what comes inside a destructor is
    dropped by Python itself. So amid an import, where nothing is half done, the process ends at once; and whoever is
    about to begin something long asks first whether a signal came.
    """

    def __init__(self, outermost: CodeType) -> None:
        self.came = False
        self.ended = False  # the command is done; what remains is to take the process apart
        self._outermost = outermost  # the function whose callers do not count: it may itself be called in an import

    def install(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if self.ended or _importing(frame, self._outermost):
            leave()
        raise KeyboardInterrupt


def leave() -> NoReturn:
    """End this process amid whatever it does."""
    with suppress(OSError):  # not by print: the signal may have come inside of one
        os.write(2, f"{LINE}\n".encode())
    os._exit(INTERRUPTED)


def _importing(frame: FrameType | None, outermost: CodeType) -> bool:
    while frame is not None and frame.f_code is not outermost:
        if frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back
    return False


class Interrupts:
    """While entered, the first signal sets `pending`, and breaks an iteration off where `breakable`.

    A second Ctrl-C kills. A second SIGTERM does nothing: a scheduler and the sweep may well send one each.
    """

    def __init__(self) -> None:
        self.pending = False
        self.breakable = False
        self._before: list[object] = []

    def __enter__(self) -> Interrupts:
        """Begin to listen.

        Raises:
            KeyboardInterrupt: a signal came before, and something swallowed it.
        """
        try:
            self._before = [signal.signal(number, self._receive) for number in SIGNALS]
        except ValueError:  # not in the main thread: whoever owns that one handles signals
            self._before = []
        if any(isinstance(handler, SignalHandler) and handler.came for handler in self._before):
            self.__exit__(None, None, None)
            raise KeyboardInterrupt
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in zip(SIGNALS, self._before, strict=False):
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.pending = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.breakable:
            raise Interrupted
