"""Timing of contenders in turns, and ratios of their times."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

Times = dict[str, list[float]]  # seconds of each contender, round after round


class Ratio(NamedTuple):
    """Median, minimum and maximum of a ratio over rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def in_turns(jobs: dict[str, Callable[[], float]], rounds: int, tick: Callable[[], None] = lambda: None) -> Times:
    """Return the seconds that each job reports, in rounds of one job after the other. The first round is discarded."""
    times: Times = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            seconds = job()
            if number:
                times[name].append(seconds)
        tick()
    return times


def ratio(above: Iterable[float], below: Iterable[float]) -> Ratio:
    """Divide the times of two contenders round by round, so that drift cancels."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def total(*series: Iterable[float]) -> list[float]:
    """Sum the times of contenders round by round."""
    return [sum(row) for row in zip(*series, strict=True)]
