"""One attempt at a run: a `hadamax train --resume` in a process of its own, on whatever machine this is.

The lock of the run's folder is taken before the process is started, and the process inherits it: it is held until the
process has ended, whatever becomes of those who wait for it. So no run is ever worked on twice, also when a sweep is
killed and its process is not yet.
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
from hadamax.studies.runs import Run, State, progress_of, state_of, state_when_free

INTERRUPTED = 130
PROCESS = "hadamax.cli.study_worker"  # the module that the process runs
# Set by a person or a scheduler, not by what a run does: the next attempt may well succeed.
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
OUTSIDE = "from outside: "  # begins such a failure


class Outcome(NamedTuple):
    """How an attempt ended. `taken`: nothing was tried, since another process has the run."""

    run: str
    failure: str = ""  # "" if the run is done
    taken: bool = False


class Attempt:
    """A process at work on a run."""

    def __init__(self, run: Run, study: Path, process: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
        self.run, self.study, self.process, self.log, self._log_start = run, study, process, log, log_start

    @classmethod
    def begin(cls, run: Run, study: Path, environment: Mapping[str, str]) -> Attempt | Outcome:
        """Start the process; an outcome where there is nothing to start.

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
                    start_new_session=True,  # Ctrl-C is the sweep's to pass on
                    pass_fds=[held],
                    env={**os.environ, **threads_environment(run.threads), **environment, HELD: str(held)},
                )
        finally:
            os.close(held)
        return cls(run, study, process, log, start)

    def outcome(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        code = self.process.poll()
        if not code:
            return None if code is None else Outcome(self.run.name)
        if code == INTERRUPTED or -code in SIGNALS:
            return stopped(self.run, self.study, "interrupted" if code > 0 else f"signal {-code}")
        said = self._last_line()
        return Outcome(self.run.name, said if code > 0 else f"crashed by signal {-code}: {said}")

    def stop(self) -> None:
        """Have it write a checkpoint and end."""
        self.process.terminate()

    def _last_line(self) -> str:
        with open(self.log, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 20_000, self._log_start))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def threads_environment(threads: int) -> dict[str, str]:
    """What tells libraries their share of the cores."""
    return dict.fromkeys(THREADS, str(threads))


def stopped(run: Run, study: Path, how: str) -> Outcome:
    """The outcome of an attempt that something else put an end to."""
    return Outcome(run.name, f"{OUTSIDE}{how}, at frame {progress_of(study / run.name).frame:,}")


def _where(folder: Path, state: State) -> str:
    if state is State.WAITING:
        return "from the beginning"
    return "its evaluation" if state is State.TRAINED else f"from the checkpoint before {progress_of(folder).frame:,}"
