"""Contenders of a benchmark: worker processes timed in turns, and ratios of their times."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Spec:
    """Specification of a worker."""

    form: str
    """ours, plain (eager PyTorch), jax, products, learner or environments."""
    encoder: str = "hadamax"
    precision: str = "float32"
    threads: int = 1
    batch: int = 128
    """Rows per update."""
    acting: int = 136
    """Rows acted on at once, one per environment."""
    layout: str = ""
    """Memory format of form plain: channels_last, contiguous, or empty for the faster one."""
    pqn: dict[str, Any] = field(default_factory=dict)
    """Settings of a learner that differ from PQN's defaults."""


class WorkerError(Exception):
    """A worker failed; the message says why, in one line."""


class Contender:
    """A worker process, idle unless it is timing a job."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        threads = str(spec.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        command = [sys.executable, "-m", "hadamax.benchmark.worker"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # In its own session, so that only the command receives Ctrl-C; it then ends its workers.
        self._process = subprocess.Popen(command, text=True, env=environment, start_new_session=True, **pipes)
        try:
            self.about: dict[str, Any] = self._ask(asdict(spec))["about"]
        except BaseException:  # also an interruption, or the process would be left behind
            self._process.kill()
            self.close()
            raise

    def seconds(self, job: str, repeats: int = 1) -> list[float]:
        """Run a job and return the seconds of each repeat."""
        seconds: list[float] = self._ask({"job": job, "repeats": repeats})["seconds"]
        return seconds

    def peak_mib(self, job: str) -> float:
        """Run a job and return the peak growth of the process, MiB."""
        return float(self._ask({"peak": job})["mib"])

    def close(self) -> None:
        """Close the process's input and wait for its end."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it may have ended before it read all
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # it may be in the middle of a long job
            self._process.kill()
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        reply: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        if "error" in reply:
            self.close()
            raise WorkerError(f"{self.spec.form}, {self.spec.encoder}, {self.spec.precision}: {reply['error']}")
        return reply


Times = dict[str, list[float]]  # seconds of each contender, round after round


class Ratio(NamedTuple):
    """Median, minimum and maximum of a ratio over rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def in_turns(jobs: dict[str, Callable[[], float]], rounds: int, tick: Callable[[], None] = lambda: None) -> Times:
    """Return the seconds that each job reports, in rounds of one job after the other. The first round is discarded."""
    times: Times = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            seconds = job()
            if number:
                times[name].append(seconds)
        tick()
    return times


def ratio(above: Iterable[float], below: Iterable[float]) -> Ratio:
    """Divide the times of two contenders round by round, so that drift cancels."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def total(*series: Iterable[float]) -> list[float]:
    """Sum the times of contenders round by round."""
    return [sum(row) for row in zip(*series, strict=True)]
