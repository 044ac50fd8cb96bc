"""A run of a study, and how far it is: read from its folder, so that nothing has to be remembered."""

from __future__ import annotations

import fcntl
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from hadamax.training.finished import finished
from hadamax.training.folder import CONFIG, LOCK
from hadamax.training.logs import read_csv


class Run(NamedTuple):
    """A run as it is to be: the same name is the same run."""

    name: str  # its folder below the study's
    train: tuple[str, ...]  # arguments of `hadamax train`, --out among them
    evaluate: tuple[str, ...] = ("--episodes", "30")  # arguments of `hadamax evaluate`


class State(StrEnum):
    """How far a run is."""

    WAITING = "waiting"  # not begun
    RUNNING = "running"  # another process has it
    STOPPED = "stopped"  # begun, and to be gone on with
    TRAINED = "trained"  # to be evaluated
    DONE = "done"


def state_of(folder: Path) -> State:
    """The state of the run in a folder, whoever works on it."""
    if not (folder / CONFIG).exists():
        return State.WAITING
    if _in_use(folder):
        return State.RUNNING
    if finished(folder) is None:
        return State.STOPPED
    return State.DONE if (folder / "evaluation.json").exists() else State.TRAINED


def command(run: Run, folder: Path, state: State) -> list[str]:
    """What comes next for a run that is waiting, stopped or trained: arguments of `hadamax`."""
    if state is State.WAITING:
        return ["train", *run.train]
    if state is State.STOPPED:
        return ["resume", str(folder)]
    return ["evaluate", str(folder), *run.evaluate]


class Progress(NamedTuple):
    """What a run's logs say of it."""

    frame: int
    frames_per_second: float
    score: float | None
    source: str  # of the score: "final evaluation", "greedy test games" or "training games"


def progress_of(folder: Path) -> Progress:
    """The last row of `metrics.csv`, and the final evaluation where there is one."""
    rows = read_csv(folder / "metrics.csv")
    last = rows[-1] if rows else {}
    score, source = None, ""
    for column, name in (("training_return", "training games"), ("test_return", "greedy test games")):
        if last.get(column):
            score, source = float(last[column]), name
    try:
        report = json.loads((folder / "evaluation.json").read_bytes())
        score, source = float(report["agent"]["mean"]), report["source"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Progress(int(last.get("frame") or 0), float(last.get("frames_per_second") or 0), score, source)


def _in_use(folder: Path) -> bool:
    """Whether another process holds the folder's lock."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
