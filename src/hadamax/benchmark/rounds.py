"""Timing in turns, and what a ratio is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

Times = dict[str, list[float]]  # seconds of each contender, round after round


class Ratio(NamedTuple):
    """The median over rounds, and the smallest and largest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def in_turns(jobs: dict[str, Callable[[], float]], rounds: int, tick: Callable[[], None] = lambda: None) -> Times:
    """Seconds that each job says it took, in rounds of one after the other. A first round is not counted."""
    times: Times = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            seconds = job()
            if number:
                times[name].append(seconds)
        tick()
    return times


def ratio(above: Iterable[float], below: Iterable[float]) -> Ratio:
    """Round by round: what two contenders took within a round is divided, so that drift cancels."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def total(*series: Iterable[float]) -> list[float]:
    """Seconds of a sum of contenders, round by round."""
    return [sum(row) for row in zip(*series, strict=True)]
