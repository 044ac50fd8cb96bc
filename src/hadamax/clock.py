"""Seconds that a run spends on each activity."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds by activity. A nested activity pauses the one around it.

    GPU kernels run asynchronously, so their time counts for the activity that waits for them.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._paused: list[str] = []
        self._current: str | None = None
        self._since = 0.0

    @contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        self._switch(activity, push=True)
        try:
            yield
        finally:
            self._switch(None, push=False)

    def _switch(self, activity: str | None, *, push: bool) -> None:
        now = time.perf_counter()
        if self._current is not None:
            self.seconds[self._current] = self.seconds.get(self._current, 0.0) + now - self._since
        if push:
            self._paused.append(self._current or "")
            self._current = activity
        else:
            self._current = self._paused.pop() or None
        self._since = now
