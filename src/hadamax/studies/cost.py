"""Estimated cost of a study on this machine, in hours and disk space, from a short run of each variant.

The short runs use as many concurrent processes as the study, since they share memory and caches. They have shorter
iterations (fewer steps between updates, with as many rows per update) and start learning from the replay buffer at
once; other settings are the study's. Diagnostics, start-up and final evaluation are not included.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from contextlib import closing, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hadamax.errors import UserError
from hadamax.runs.logs import read_csv
from hadamax.runs.settings import TrainSettings, from_toml, to_toml
from hadamax.runs.setup import start
from hadamax.studies.attempt import threads_environment
from hadamax.studies.study import StudyRun

MOST_VARIANTS = 30  # measured at most; others get the mean
SHORTEST_ROLLOUT = 8
ENDLESS = 10**15  # the run ends by time
REPLAY_STEPS, FIRST_STEPS = 20_000, 512
ACTIONS_KEPT = 4_000  # bytes per Atari environment in a checkpoint
FILES_BYTES = 300_000  # curve.png, evaluation.json, config.toml, diagnostics.csv


class Cost(NamedTuple):
    """Cost of a variant."""

    frames_per_second: float
    checkpoint_bytes: float
    row_bytes: float  # of metrics.csv and TensorBoard, per logged row
    frame_bytes: float  # of episodes.csv, per frame
    replay_step_bytes: float  # of the replay buffer, per step

    def hours(self, frames: int) -> float:
        return frames / self.frames_per_second / 3600

    def disk(self, settings: TrainSettings[Any]) -> float:
        """Return the bytes of a complete run, including the checkpoint being written."""
        run, own = settings.run, settings.algorithm
        checkpoints = run.keep_checkpoints + len(run.keep_checkpoints_at) + 2
        steps = min(getattr(own, "replay_size", 0), run.frames // (settings.environment.frame_skip or 1))
        rows = run.frames / run.log_every
        actions = ACTIONS_KEPT * own.num_envs if settings.environment.family == "atari" else 0
        logs = rows * self.row_bytes + run.frames * self.frame_bytes + steps * self.replay_step_bytes
        return checkpoints * (self.checkpoint_bytes + actions) + logs + FILES_BYTES


def kind(run: StudyRun) -> tuple[str, str]:
    """Return what runs of equal cost have in common."""
    return run.variant, run.settings.environment.family


def measure(runs: Iterable[StudyRun], *, seconds: float, workers: int, threads: int) -> dict[tuple[str, str], Cost]:
    """Measure the cost of each kind of run.

    Args:
        seconds: total measuring time, shared by the kinds.
        workers: number of concurrent processes per kind.

    Raises:
        UserError: a run is invalid.
    """
    first: dict[tuple[str, str], StudyRun] = {}
    for run in runs:
        first.setdefault(kind(run), run)
    chosen = list(first)[:: math.ceil(len(first) / MOST_VARIANTS)]
    tasks = [_task(first[name], seconds / len(chosen), threads) for name in chosen]
    with tempfile.TemporaryDirectory(prefix="hadamax-cost-") as folder:
        found = _in_processes(json.dumps(tasks), workers, threads, Path(folder))
    costs = {name: Cost(*map(_mean, zip(*each, strict=True))) for name, each in zip(chosen, found, strict=True)}
    mean = Cost(*map(_mean, zip(*costs.values(), strict=True)))
    return {name: costs.get(name, mean) for name in first}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _task(run: StudyRun, seconds: float, threads: int) -> dict[str, Any]:
    settings = run.settings
    settings = replace(settings, run=replace(settings.run, threads=settings.run.threads or threads))
    return {"run": run.id, "seconds": seconds, "config": to_toml(run.algorithm, settings, {})}


def _in_processes(tasks: str, workers: int, threads: int, folder: Path) -> list[list[Cost]]:
    """Measure the tasks in `workers` concurrent processes; return each task's costs, one per process."""
    (folder / "tasks.json").write_text(tasks)
    command = [sys.executable, "-m", __name__, str(folder)]
    given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, **threads_environment(threads)}
    processes = [subprocess.Popen([*command, str(i)], env=environment, **given) for i in range(workers)]
    try:
        said = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, (_, error) in zip(processes, said, strict=True):
        if process.returncode:
            raise UserError((error.strip().splitlines() or ["the measurement failed without output"])[-1])
    each = [[Cost(*cost) for cost in json.loads(out.splitlines()[-1])] for out, _ in said]
    return [list(costs) for costs in zip(*each, strict=True)]


# -- measuring process -----------------------------------------------------------------------------------------------


def main(folder: str, number: str) -> int:
    """Measure the tasks of `folder` and print their costs."""
    costs = []
    for i, task in enumerate(json.loads(Path(folder, "tasks.json").read_bytes())):
        algorithm, settings = from_toml(tomllib.loads(task["config"]), Path(task["run"]))
        try:
            costs.append(_short_run(algorithm, settings, Path(folder, f"{number}-{i}"), task["seconds"]))
        except UserError as error:
            print(f"{task['run']}: {error}", file=sys.stderr)
            return 2
    print(json.dumps(costs))
    return 0


def _short_run(algorithm: str, settings: TrainSettings[Any], folder: Path, seconds: float) -> Cost:
    settings = _shortened(settings, seconds)
    settings = replace(settings, run=replace(settings.run, out=str(folder)))
    with redirect_stderr(io.StringIO()), closing(start(algorithm, settings, lambda line: None)) as loop:
        loop.train()
    rows = [(int(row["frame"]), float(row["seconds"])) for row in read_csv(folder / "metrics.csv")]
    skip = settings.environment.frame_skip or 1
    learned = [row for row in rows if row[0] > getattr(settings.algorithm, "learning_starts", 0) * skip]
    (first, begin), (last, end) = (learned[0], learned[-1]) if len(learned) > 1 else ((0, 0.0), rows[-1])
    steps = min(last // skip, getattr(settings.algorithm, "replay_size", 0))
    return Cost(
        (last - first) / max(end - begin, 1e-9),
        _bytes(folder.glob("checkpoints/frame_*/*")),
        _bytes([folder / "metrics.csv", *folder.glob("events.*")]) / len(rows),
        _bytes([folder / "episodes.csv"]) / last,
        _bytes(folder.glob("checkpoints/replay/*")) / steps if steps else 0.0,
    )


def _shortened(settings: TrainSettings[Any], seconds: float) -> TrainSettings[Any]:
    """Return settings of a short run whose cost represents that of the whole one."""
    own, changes = settings.algorithm, {}
    if hasattr(own, "num_minibatches"):
        both = math.gcd(own.num_steps, own.num_minibatches)
        divisors = [n for n in range(1, both + 1) if both % n == 0]
        parts = max(n for n in divisors if n == 1 or own.num_steps // n >= SHORTEST_ROLLOUT)
        changes = {"num_steps": own.num_steps // parts, "num_minibatches": own.num_minibatches // parts}
    elif hasattr(own, "replay_size"):
        size = min(own.replay_size, REPLAY_STEPS)
        changes = {"replay_size": size, "learning_starts": min(own.learning_starts, FIRST_STEPS, size)}
    run = replace(
        settings.run,
        frames=ENDLESS,
        decay_frames=settings.run.decay_frames or settings.run.frames,
        max_minutes=seconds / 60,
        log_every=1,
        checkpoint_every=ENDLESS,
        diagnostics_every=0,
        keep_checkpoints_at=(),
        wandb=False,
    )
    return replace(settings, run=run, algorithm=replace(own, **changes))


def _bytes(files: Iterable[Path]) -> float:
    return float(sum(file.stat().st_size for file in files))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
