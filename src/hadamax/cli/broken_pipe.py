"""Output that nobody reads any more (`hadamax train ... | head -1`) costs no work: what remains of it is dropped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class BrokenPipeSafeStream:
    """A text stream that goes on as if it were read, after its reader has gone."""

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
        """Point the descriptor to nowhere: the stream's buffer would not be empty else, and fail again at the end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def tolerate_closed_output() -> Iterator[None]:
    """While entered, standard output and standard error may lose their reader."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = BrokenPipeSafeStream(before[0]), BrokenPipeSafeStream(before[1])  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
