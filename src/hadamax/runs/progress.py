"""Progress of long work: a bar on a terminal, otherwise occasional lines."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Frames done, frames/s, time left and the latest score, on standard error."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.first = total, done
        self._start = time.monotonic()
        self._said = -float("inf")
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = ("{task.fields[frames]} frames", "{task.fields[rate]}", "{task.fields[score]}")
            texts = [TextColumn(column) for column in columns]
            self._bar = Bar(
                BarColumn(20),
                TaskProgressColumn(),
                *texts,
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("", total=total, completed=done, frames=f"{done:,}", rate="", score="")

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, score: str, shares: str) -> None:
        now = time.monotonic()
        rate = (done - self.first) / max(now - self._start, 1e-9)
        if self._bar:
            self._bar.update(self._task, completed=done, frames=f"{done:,}", rate=f"{rate:,.0f}/s", score=score)
        elif now - self._said >= SECONDS_BETWEEN_LINES or done == self.total:
            self._said = now
            left = (self.total - done) / max(rate, 1e-9)
            print(
                f"{done:,} of {self.total:,} frames, {rate:,.0f} frames/s ({shares}), {duration(left)} left; {score}",
                file=sys.stderr,
                flush=True,
            )


def duration(seconds: float) -> str:
    """Format seconds: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
