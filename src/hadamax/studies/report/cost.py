"""What the runs cost: seconds trained, frames a second, memory, and on which machines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hadamax.studies.collect import Run
from hadamax.studies.report.evidence import Evidence
from hadamax.studies.report.settings import machines


class Cost(NamedTuple):
    """Of a variant's runs that have a clock; hours of training, evaluation not among them."""

    runs: int
    hours: float  # of all together
    hours_a_run: float
    frames_per_second: float  # all frames over all seconds
    relative: float | None  # seconds a frame, over the baseline's
    memory_mib: float | None  # the most that a run held when it ended
    machines: str


def seconds_of(run: Run) -> float | None:
    """Seconds trained, by the last row logged."""
    return float(run.clock[1][-1]) if run.clock[1].size else None


def costs(evidence: Evidence) -> dict[str, Cost]:
    """By variant; one without a clock is left out."""
    found: dict[str, Cost] = {}
    for variant in evidence.variants:
        runs = [run for run in evidence.counted if run.variant == variant and seconds_of(run)]
        if not runs:
            continue
        seconds = np.array([seconds_of(run) for run in runs])
        rate = float(sum(run.clock[0][-1] for run in runs) / seconds.sum())
        first = found.get(evidence.baseline)
        memory = [run.memory_mib for run in runs if run.memory_mib is not None]
        found[variant] = Cost(
            len(runs),
            float(seconds.sum()) / 3600,
            float(seconds.mean()) / 3600,
            rate,
            first.frames_per_second / rate if first else (1.0 if variant == evidence.baseline else None),
            max(memory, default=None),
            machines(runs),
        )
    return found
