"""Ctrl-C and SIGTERM: stop at once if nothing is lost, otherwise within a copied iteration or at its end."""

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
    """Raised inside an iteration whose initial state has been copied."""


class SignalHandler:
    """Signal handler of the command line: raises KeyboardInterrupt and records that a signal `came`.

    Some libraries swallow every exception during an import, and Python drops exceptions raised in destructors. During
    an import the process therefore exits at once, and long work first checks whether a signal came.
    """

    def __init__(self, outermost: CodeType) -> None:
        self.came = False
        self.ended = False  # the command is done; the process is exiting
        self._outermost = outermost  # callers above this function may be importing

    def install(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if self.ended or _importing(frame, self._outermost):
            leave()
        raise KeyboardInterrupt


def leave() -> NoReturn:
    """Exit the process at once."""
    with suppress(OSError):  # not print, which the signal may have interrupted
        os.write(2, f"{LINE}\n".encode())
    os._exit(INTERRUPTED)


def _importing(frame: FrameType | None, outermost: CodeType) -> bool:
    while frame is not None and frame.f_code is not outermost:
        if frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back
    return False


class Interrupts:
    """Context in which the first signal sets `pending`, and interrupts the iteration if `breakable`.

    A second Ctrl-C kills. A second SIGTERM is ignored: a scheduler and the sweep may each send one.
    """

    def __init__(self) -> None:
        self.pending = False
        self.breakable = False
        self._before: list[object] = []

    def __enter__(self) -> Interrupts:
        """Install the handlers.

        Raises:
            KeyboardInterrupt: an earlier signal was swallowed by a library.
        """
        try:
            self._before = [signal.signal(number, self._receive) for number in SIGNALS]
        except ValueError:  # not in the main thread, which handles signals
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
