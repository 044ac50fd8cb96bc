"""One attempt at a run: `hadamax train --resume` in its own process on this machine.

The lock of the run's folder is acquired before the process starts, and the process inherits it. The lock is therefore
held until that process ends, even if the sweep is killed first, so no run is ever executed twice at a time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hadamax.runs.folder import HELD, claim
from hadamax.studies.ledger import ENDED, STARTED, Ledger
from hadamax.studies.runs import PlannedRun, State, progress_of, state_of, state_when_free

INTERRUPTED = 130
PROCESS = "hadamax.cli.study_worker"  # the module that the process runs
# Sent by a person or a scheduler, so the next attempt may succeed.
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
OUTSIDE = "from outside: "  # prefix of failures caused by these signals


class Outcome(NamedTuple):
    """Result of an attempt. `taken`: nothing was tried, because another process works on the run."""

    run: str
    failure: str = ""  # empty if the run is done
    taken: bool = False


class Attempt:
    """One process that works on a run."""

    def __init__(
        self, run: PlannedRun, study: Path, process: subprocess.Popen[bytes], log: Path, log_start: int
    ) -> None:
        self.run, self.study, self.process, self.log, self._log_start = run, study, process, log, log_start

    @classmethod
    def begin(cls, run: PlannedRun, study: Path, environment: Mapping[str, str]) -> Attempt | Outcome:
        """Start the process, or return an outcome if there is nothing to start.

        Raises:
            OSError: the study's folder cannot be written.
        """
        folder = study / run.name
        folder.mkdir(parents=True, exist_ok=True)
        if state_of(folder) is State.RUNNING:
            return Outcome(run.name, taken=True)
        try:
            held = claim(folder)
        except BlockingIOError:
            return Outcome(run.name, taken=True)
        try:
            state = state_when_free(folder)
            if state is State.DONE:
                Ledger(study).add(run.name, ENDED, "found done", once=True)
                return Outcome(run.name)
            Ledger(study).add(run.name, STARTED, _where(folder, state))
            log = study / "logs" / f"{run.name.replace('/', '-')}.log"
            log.parent.mkdir(exist_ok=True)
            with open(log, "ab") as file:
                start = file.tell()
                process = subprocess.Popen(
                    [sys.executable, "-m", PROCESS, str(os.getpid()), str(study), run.name, *run.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # the sweep forwards Ctrl-C
                    pass_fds=[held],
                    env={**os.environ, **threads_environment(run.threads), **environment, HELD: str(held)},
                )
        finally:
            os.close(held)
        return cls(run, study, process, log, start)

    def outcome(self) -> Outcome | None:
        """Return the outcome, or None while the process is running."""
        code = self.process.poll()
        if not code:
            return None if code is None else Outcome(self.run.name)
        if code == INTERRUPTED or -code in SIGNALS:
            return stopped(self.run, self.study, "interrupted" if code > 0 else f"signal {-code}")
        said = self._last_line()
        return Outcome(self.run.name, said if code > 0 else f"crashed by signal {-code}: {said}")

    def stop(self) -> None:
        """Make the run write a checkpoint and exit."""
        self.process.terminate()

    def _last_line(self) -> str:
        with open(self.log, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 20_000, self._log_start))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "there was no output"


def threads_environment(threads: int) -> dict[str, str]:
    """Return the environment variables that limit the threads of numerical libraries."""
    return dict.fromkeys(THREADS, str(threads))


def stopped(run: PlannedRun, study: Path, how: str) -> Outcome:
    """Return the outcome of an attempt that was stopped from outside."""
    return Outcome(run.name, f"{OUTSIDE}{how}, at frame {progress_of(study / run.name).frame:,}")


def _where(folder: Path, state: State) -> str:
    if state is State.WAITING:
        return "from the beginning"
    return "its evaluation" if state is State.TRAINED else f"from the checkpoint before {progress_of(folder).frame:,}"
