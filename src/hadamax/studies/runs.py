"""Runs of a study and their progress, read from their folders."""

from __future__ import annotations

import csv
import fcntl
import os
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from hadamax.runs.checkpoints import frame_of, newest_first
from hadamax.runs.folder import CONFIG, LOCK, evaluated, marked

TAIL_BYTES = 16_384  # more than a row of metrics.csv


class PlannedRun(NamedTuple):
    """A run of a study, identified by its name."""

    name: str  # its folder below the study's
    arguments: tuple[str, ...]  # of `hadamax`: train or resume, then evaluate
    frames: int = 0
    threads: int = 1


class State(StrEnum):
    """State of a run."""

    WAITING = "waiting"  # not started
    RUNNING = "running"  # locked by another process
    STOPPED = "stopped"  # started, to be resumed
    TRAINED = "trained"  # to be evaluated
    DONE = "done"


def state_of(folder: Path) -> State:
    """Return the state of the run in a folder."""
    if _in_use(folder):
        return State.RUNNING
    return state_when_free(folder)


def state_when_free(folder: Path) -> State:
    """Return the state of a run that no process is working on."""
    if not (folder / CONFIG).exists():
        return State.WAITING
    if marked(folder) is None:
        return State.STOPPED
    return State.TRAINED if evaluated(folder) is None else State.DONE


class RunProgress(NamedTuple):
    """Progress of a run according to its logs."""

    frame: int
    frames_per_second: float
    score: float | None
    source: str  # of the score: "final evaluation", "greedy test games" or "training games"


def progress_of(folder: Path) -> RunProgress:
    """Read the last row of `metrics.csv` or the last checkpoint, and the final evaluation if there is one."""
    last = _last_row(folder / "metrics.csv")
    saved = max(map(frame_of, newest_first(folder / "checkpoints")), default=0)
    score, source = None, ""
    for column, name in (("training_return", "training games"), ("test_return", "greedy test games")):
        if last.get(column):
            score, source = _number(last[column]), name
    report = evaluated(folder)
    if report is not None:
        score, source = float(report["agent"]["mean"]), str(report.get("source", "final evaluation"))
    return RunProgress(
        max(int(_number(last.get("frame"))), saved), _number(last.get("frames_per_second")), score, source
    )


def _last_row(path: Path) -> dict[str, str]:
    """Read the last complete row of a CSV file without reading the whole file."""
    try:
        with open(path, "rb") as file:
            columns = file.readline()
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, len(columns)))
            rows = file.read().decode(errors="replace").rpartition("\n")[0].splitlines()
    except OSError:
        return {}
    names, values = next(csv.reader([columns.decode(errors="replace")]), []), next(csv.reader(rows[-1:]), [])
    return dict(zip(names, values, strict=False))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # a damaged file
        return 0.0


def _in_use(folder: Path) -> bool:
    """Return True if another process holds the folder's lock."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        # Shared, so that concurrent readers do not block each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
