"""Execution of a study's runs on any engine.

The next step of each run is derived from its folder. A study killed at any moment therefore resumes, several processes
may work on one folder, and adding a seed executes only the new runs. A run that dies is resumed from its checkpoint. A
run that fails twice in the same way is set aside with its log, and the other runs continue.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from hadamax.errors import UserError
from hadamax.studies.attempt import OUTSIDE, Outcome
from hadamax.studies.ledger import ASIDE, ENDED, FAILED, Ledger
from hadamax.studies.runs import PlannedRun, State, state_of

SECONDS_BETWEEN_TRIES = 2.0  # for a run locked by another process
SAME_FAILURES = 2
FAILURES = 3  # of any kind except those from outside
SAME_KILLS = 30  # from outside at the same frame, for example because memory never suffices
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


class SweepEngine(Protocol):
    """Executes runs. Every started run eventually has exactly one outcome."""

    def start(self, run: PlannedRun) -> Outcome | None:
        """Start a run, or return its outcome if it is known at once."""
        ...

    def has_room(self) -> bool:
        """Return True if one more run can be started."""
        ...

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes since the last call; wait briefly if there are none."""
        ...

    def stop(self) -> None:
        """Make all runs write a checkpoint and exit, and wait for them."""
        ...


def work(study: Path, runs: Sequence[PlannedRun], engine: SweepEngine, look: Callable[[], None] = lambda: None) -> bool:
    """Execute all runs that can be executed. Return True if all are done. On any exit, active runs write checkpoints.

    Args:
        study: folder of the study; each run's folder is below it.
        runs: runs in order of execution; failed ones are retried last.
        look: called regularly, to display progress.

    Raises:
        UserError: the disk is full; what was written is kept.
    """
    ledger = Ledger(study)
    left = {run.name: run for run in runs}
    busy: set[str] = set()
    later: dict[str, float] = {}  # when to try again
    try:
        while True:
            aside, failures = ledger.set_aside(), ledger.failures()
            todo = [run for run in left.values() if run.name not in busy and run.name not in aside]
            for run in sorted(todo, key=lambda run: len(failures.get(run.name, ()))):
                if not engine.has_room():
                    break
                if later.get(run.name, 0.0) <= time.monotonic():
                    outcome = engine.start(run)
                    if outcome is None:
                        busy.add(run.name)
                    else:
                        _settle(outcome, study, left, later)
            if not left.keys() - aside.keys():
                return not left
            ended: list[Outcome] = []
            while not ended and not (todo and engine.has_room() and _due(todo, later)):
                ended = engine.outcomes()
                look()
            for outcome in ended:
                busy.discard(outcome.run)
                _settle(outcome, study, left, later)
    finally:
        engine.stop()
        look()


def _due(todo: Sequence[PlannedRun], later: dict[str, float]) -> bool:
    return any(later.get(run.name, 0.0) <= time.monotonic() for run in todo)


def _settle(outcome: Outcome, study: Path, left: dict[str, PlannedRun], later: dict[str, float]) -> None:
    """Update the ledger and the remaining runs after an attempt ended."""
    name, ledger = outcome.run, Ledger(study)
    if outcome.taken:
        later[name] = time.monotonic() + SECONDS_BETWEEN_TRIES
    elif not outcome.failure:
        ledger.add(name, ENDED, "found done", once=True)  # in case its process died before adding this event
        del left[name]
    elif state_of(study / name) is not State.DONE:  # a run killed after writing its last file is done
        ledger.add(name, FAILED, outcome.failure)
        if any(word in outcome.failure for word in FULL):
            raise UserError(f"out: {study} cannot be written: {outcome.failure}; free disk space and repeat")
        if _failed_too_often(outcome, ledger.failures()[name]):
            log = study / "logs" / f"{name.replace('/', '-')}.log"
            ledger.add(name, ASIDE, f"{outcome.failure}; see {log}")


def _failed_too_often(outcome: Outcome, failures: list[str]) -> bool:
    """Return True if the run failed too often; `failures` includes this one."""
    same = failures.count(outcome.failure)
    if outcome.failure.startswith(OUTSIDE):
        return same >= SAME_KILLS
    own = [failure for failure in failures if not failure.startswith(OUTSIDE)]
    return same >= SAME_FAILURES or len(own) >= FAILURES
