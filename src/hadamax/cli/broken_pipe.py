"""Output to a closed pipe (`hadamax train ... | head -1`) is dropped, and the command continues."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class BrokenPipeSafeStream:
    """Text stream that drops what is written after its reader has closed the pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Redirect the descriptor to the null device, so that flushing the buffer at exit does not fail again."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def tolerate_closed_output() -> Iterator[None]:
    """Context in which the readers of standard output and standard error may close their pipes."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = BrokenPipeSafeStream(before[0]), BrokenPipeSafeStream(before[1])  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
