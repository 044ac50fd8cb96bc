"""Measured cost of runs: hours of training, frames per second, memory and machine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hadamax.studies.collect import Run
from hadamax.studies.report.evidence import Evidence
from hadamax.studies.report.settings import machines


class Cost(NamedTuple):
    """Cost of a variant's runs, without evaluation."""

    runs: int
    hours: float  # total
    hours_a_run: float
    frames_per_second: float  # all frames over all seconds
    relative: float | None  # seconds per frame, relative to the baseline
    memory_mib: float | None  # maximum over runs, at their end
    machines: str


def seconds_of(run: Run) -> float | None:
    """Return the seconds of training at the last logged row."""
    return float(run.clock[1][-1]) if run.clock[1].size else None


def costs(evidence: Evidence) -> dict[str, Cost]:
    """Return the cost of each variant whose runs logged their time."""
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
