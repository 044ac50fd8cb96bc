"""A study on this machine: worker processes, each a `hadamax train`, `resume` or `evaluate` of its own.

What to do next is read from the runs' folders, so a study that was killed at any moment goes on where it was, several
may work on one folder, and adding a seed runs only what is new. A run that dies is gone on with from its checkpoint;
one that fails the same way twice is set aside with its log, and the rest go on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hadamax.experiments.ledger import ASIDE, ENDED, FAILED, STARTED, Ledger
from hadamax.experiments.runs import Run, State, command, state_of

SECONDS_BETWEEN_LOOKS = 0.5
MOST_FAILURES = 3
REFUSED, INTERRUPTED = 2, 130  # exit codes
_PR_SET_PDEATHSIG = 1


class Job(NamedTuple):
    """A process at work on a run."""

    run: Run
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int  # where this process's part of the log begins


class Local:
    """Runs of a study in worker processes.

    Args:
        study: folder of the study; each run's folder is below it.
        runs: what is to be done, in this order.
        workers: processes at a time.
        look: called with the jobs at work now and then, to show them.
    """

    def __init__(
        self, study: Path, runs: Sequence[Run], *, workers: int, look: Callable[[list[Job]], None] = lambda jobs: None
    ) -> None:
        self.study, self.runs, self.workers, self.look = study, runs, workers, look
        self.ledger = Ledger(study)
        self.jobs: list[Job] = []

    def work(self) -> bool:
        """Run everything that can be run: whether all of it is done. SIGTERM and Ctrl-C stop with checkpoints."""
        self.study.mkdir(parents=True, exist_ok=True)
        try:
            while self._start_jobs() or self.jobs:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                self._collect()
                self.look(self.jobs)
        finally:
            self._stop()
        return all(state_of(self.study / run.name) is State.DONE for run in self.runs)

    def _start_jobs(self) -> bool:
        """Fill the free workers; whether something is left that others are working on."""
        waits = False
        aside = self.ledger.set_aside()
        busy = {job.run.name for job in self.jobs}
        for run in self.runs:
            if len(self.jobs) == self.workers:
                return True
            if run.name in busy or run.name in aside:
                continue
            state = state_of(self.study / run.name)
            if state is State.RUNNING:
                waits = True
            elif state is not State.DONE:
                self._start(run, state)
        return waits

    def _start(self, run: Run, state: State) -> None:
        folder = self.study / run.name
        log = self.study / "logs" / f"{run.name.replace('/', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = command(run, folder, state)
        self.ledger.add(run.name, STARTED, arguments[0])
        with open(log, "ab") as file:
            start = file.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "hadamax", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on
                preexec_fn=_die_with_parent,
            )
        self.jobs.append(Job(run, process, log, start))

    def _collect(self) -> None:
        for job in [job for job in self.jobs if job.process.poll() is not None]:
            self.jobs.remove(job)
            code = job.process.returncode
            if code == 0:
                self.ledger.add(job.run.name, ENDED)
                continue
            said = _last_line(job)
            if code == REFUSED and "in use by another process" in said:
                continue  # somebody else was faster; its state says so
            reason = said if code > 0 else f"killed by signal {-code}"
            before = self.ledger.failures(job.run.name)
            self.ledger.add(job.run.name, FAILED, reason)
            hopeless = code == REFUSED or (code > 0 and reason in before) or len(before) + 1 >= MOST_FAILURES
            if hopeless and code != INTERRUPTED:
                self.ledger.add(job.run.name, ASIDE, f"{reason}; see {job.log}")

    def _stop(self) -> None:
        """Have the jobs write their checkpoints, and wait for them."""
        for job in self.jobs:
            job.process.send_signal(signal.SIGTERM)
        for job in self.jobs:
            job.process.wait()


def _last_line(job: Job) -> str:
    with open(job.log, "rb") as file:
        file.seek(job.log_start)
        lines = file.read()[-20_000:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _die_with_parent() -> None:
    """A study that is killed must not leave its runs behind: they get SIGTERM, and write a checkpoint."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == 1:
            os._exit(INTERRUPTED)
