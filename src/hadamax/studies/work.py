"""The runs of a study, worked through on any engine.

What to do next is read from the runs' folders, so a study that was killed at any moment goes on where it was, several
may work on one folder, and adding a seed runs only what is new. A run that dies is gone on with from its checkpoint;
one that fails the same way twice is set aside with its log, and the rest go on.
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
from hadamax.studies.runs import Run, State, state_of

SECONDS_BETWEEN_TRIES = 2.0  # for a run that another process has
SAME_FAILURES = 2
FAILURES = 3  # of any kind but the next
SAME_KILLS = 30  # from outside, at the same frame: memory that never suffices looks like this
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


class Engine(Protocol):
    """Where runs are worked on. A run that was started has one outcome, sooner or later."""

    def start(self, run: Run) -> Outcome | None:
        """Begin with a run, or say at once what there is to say of it."""
        ...

    def has_room(self) -> bool:
        """Whether one more run can be started."""
        ...

    def outcomes(self) -> list[Outcome]:
        """Those that there are since the last call; waits a moment for one."""
        ...

    def stop(self) -> None:
        """Have all runs write a checkpoint and end, and wait for them."""
        ...


def work(study: Path, runs: Sequence[Run], engine: Engine, look: Callable[[], None] = lambda: None) -> bool:
    """Run everything that can be run: whether all of it is done. Whatever ends this has the runs write checkpoints.

    Args:
        study: folder of the study; each run's folder is below it.
        runs: what is to be done, in this order; those that failed come last.
        look: called now and then, to show how far it is.

    Raises:
        UserError: there is no room left on the disk; what was done stays.
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


def _due(todo: Sequence[Run], later: dict[str, float]) -> bool:
    return any(later.get(run.name, 0.0) <= time.monotonic() for run in todo)


def _settle(outcome: Outcome, study: Path, left: dict[str, Run], later: dict[str, float]) -> None:
    """Draw the conclusion from how an attempt ended."""
    name, ledger = outcome.run, Ledger(study)
    if outcome.taken:
        later[name] = time.monotonic() + SECONDS_BETWEEN_TRIES
    elif not outcome.failure:
        ledger.add(name, ENDED, "found done", once=True)  # should its process not have come to it
        del left[name]
    elif state_of(study / name) is not State.DONE:  # killed, but after its last file
        ledger.add(name, FAILED, outcome.failure)
        if any(word in outcome.failure for word in FULL):
            raise UserError(f"out: {study} cannot be written: {outcome.failure}; make room, then the same command")
        if _hopeless(outcome, ledger.failures()[name]):
            log = study / "logs" / f"{name.replace('/', '-')}.log"
            ledger.add(name, ASIDE, f"{outcome.failure}; see {log}")


def _hopeless(outcome: Outcome, failures: list[str]) -> bool:
    """`failures`: what the run failed of, this time included."""
    same = failures.count(outcome.failure)
    if outcome.failure.startswith(OUTSIDE):
        return same >= SAME_KILLS
    own = [failure for failure in failures if not failure.startswith(OUTSIDE)]
    return same >= SAME_FAILURES or len(own) >= FAILURES
