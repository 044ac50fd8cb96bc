"""Execution engine: runs in worker processes of this machine, and the display of their progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from hadamax.studies.attempt import Attempt, Outcome
from hadamax.studies.ledger import Ledger
from hadamax.studies.runs import PlannedRun, State
from hadamax.studies.status_table import states, summary, table

POLL_SECONDS = 0.05
POLLS = 10


class Local:
    """Engine that runs up to `workers` local processes.

    Args:
        study: folder of the study.
        workers: number of concurrent processes.
        gpus: GPUs per run; below 1, a share of one. 0: the run sees every GPU.
        gpu_names: the GPUs' names in `CUDA_VISIBLE_DEVICES`.
    """

    def __init__(self, study: Path, *, workers: int, gpus: float = 0.0, gpu_names: Sequence[str] = ()) -> None:
        self.study, self.workers, self.gpus = study, workers, gpus
        self.attempts: list[Attempt] = []
        self._room = dict.fromkeys(gpu_names, 1.0)
        self._gpus_of_run: dict[str, list[str]] = {}

    def has_room(self) -> bool:
        return len(self.attempts) < self.workers and (not self.gpus or bool(self._free_gpus()))

    def start(self, run: PlannedRun) -> Outcome | None:
        gpus = self._free_gpus() if self.gpus else []
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        attempt = Attempt.begin(run, self.study, environment)
        if isinstance(attempt, Outcome):
            return attempt
        for gpu in gpus:
            self._room[gpu] -= min(self.gpus, 1.0)
        self._gpus_of_run[run.name] = gpus
        self.attempts.append(attempt)
        return None

    def outcomes(self) -> list[Outcome]:
        for _ in range(POLLS):
            ended = [(attempt, outcome) for attempt in self.attempts if (outcome := attempt.outcome())]
            if ended:
                break
            time.sleep(POLL_SECONDS)
        for attempt, _ in ended:
            self.attempts.remove(attempt)
            for gpu in self._gpus_of_run.pop(attempt.run.name):
                self._room[gpu] += min(self.gpus, 1.0)
        return [outcome for _, outcome in ended]

    def stop(self) -> None:
        for attempt in self.attempts:
            attempt.stop()
        for attempt in self.attempts:
            attempt.process.wait()

    def _free_gpus(self) -> list[str]:
        """Return the GPUs for one more run, least used first; an empty list if there are too few."""
        share = min(self.gpus, 1.0)
        free = sorted((gpu for gpu, room in self._room.items() if room > share - 1e-6), key=lambda g: -self._room[g])
        wanted = max(1, round(self.gpus))
        return free[:wanted] if len(free) >= wanted else []


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by their names in `CUDA_VISIBLE_DEVICES`."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(i) for i in range(count)]


SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_TABLES = 2.0


class Watch:
    """Progress display; call it often, it updates at its own interval."""

    def __init__(self, study: Path, runs: Sequence[PlannedRun]) -> None:
        self.study, self.frames = study, {run.name: run.frames for run in runs}
        self._done: set[str] = set()
        self._next = 0.0
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        terminal = sys.stderr.isatty()
        self._next = now + (SECONDS_BETWEEN_TABLES if terminal else SECONDS_BETWEEN_LINES)
        aside = Ledger(self.study).set_aside()
        found = states(self.study, self.frames, aside, self._done)
        self._done.update(name for name, state in found.items() if state == State.DONE)
        if terminal:
            self._live.update(table(self.study, self.frames, found, aside, everything=False), refresh=True)
        else:
            print(summary(found), file=sys.stderr, flush=True)
