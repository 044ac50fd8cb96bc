"""Runs small enough for a test, started through the command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from hadamax.cli import main
from hadamax.runs import checkpoints
from hadamax.runs.loop import Loop
from hadamax.runs.recorder import WALL_CLOCK
from hadamax.runs.settings import settings_type
from hadamax.runs.setup import resume, start

COMMON = {"num_minibatches": 2, "num_steps": 16, "threads": 1, "device": "cpu", "precision": "float32"}
# An iteration is 128 frames of Breakout (2 environments, 16 steps, 4 frames) or 64 of CartPole.
BREAKOUT = {
    "env": "Breakout",
    "encoder": "nature-norm",
    "width": 0.125,
    "num_envs": 2,
    "num_test_envs": 1,
    **COMMON,
}
CARTPOLE = {
    "env": "CartPole-v1",
    "encoder": "mlp",
    "features": 16,
    "num_envs": 4,
    "num_test_envs": 2,
    **COMMON,
}
# Four games of 640 frames each in 2560 frames; an iteration is 64.
SEQUENCE = {
    **CARTPOLE,
    "env": "MinAtar/Breakout-v1,MinAtar/Asterix-v1",
    "cycles": 2,
    "encoder": "minatar",
}
# The replay wraps around several times in 400 agent steps; an iteration has 16.
REPLAY = {
    "algorithm": "rainbow",
    "env": "Breakout",
    "encoder": "nature",
    "width": 0.125,
    "screen_size": 44,
    "max_episode_frames": 60,
    "num_envs": 2,
    "replay_size": 90,
    "batch_size": 4,
    "learning_starts": 40,
    "target_every": 50,
    "iteration_steps": 16,
    "frames": 1600,
    "checkpoint_every": 320,
    "log_every": 200,
    "keep_checkpoints": 2,
    "keep_checkpoints_at": (320,),
    "threads": 1,
    "device": "cpu",
    "precision": "float32",
}


class Result(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The single error line of a command that exited with 2."""
        (line,) = self.err.splitlines()
        assert self.code == 2, self
        assert line.startswith("hadamax: "), line
        return line.removeprefix("hadamax: ")


def hadamax(*arguments: object) -> Result:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


def flags(out: Path | str, game: dict[str, Any], **settings: Any) -> list[str]:
    """Return the arguments of `hadamax train`; the algorithm is pqn unless `game` names another."""
    settings = {"algorithm": "pqn", **game, **settings}
    arguments = ["train", settings.pop("algorithm"), f"--out={out}"]
    for name, value in settings.items():
        values = value if isinstance(value, tuple) else (value,)
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


def train(out: Path | str, game: dict[str, Any], **settings: Any) -> Result:
    return hadamax(*flags(out, game, **settings))


def make(out: Path, game: dict[str, Any], say: Callable[[str], None] = print, **settings: Any) -> Loop:
    """Create a run without starting it."""
    from hadamax.cli.console import parse

    _, algorithm, *rest = flags(out, game, **settings)
    return start(algorithm, parse(settings_type(algorithm), rest, "test"), say)


@contextmanager
def resumed(out: Path, say: Callable[[str], None] = print) -> Iterator[Loop]:
    """Resume a run and unlock its folder afterwards."""
    with closing(resume(out, say)) as loop:
        yield loop


class Killed(BaseException):
    """Simulated end of the process."""


def kill_after(loop: Loop, iterations: int) -> None:
    """Train for `iterations` iterations, then die in the middle of the next."""
    iteration, left = loop.algorithm.iteration, [iterations]

    def deadly() -> Any:
        if not left[0]:
            iteration()
            raise Killed
        left[0] -= 1
        return iteration()

    loop.algorithm.iteration = deadly  # type: ignore[method-assign]
    try:
        loop.train()
    except Killed:
        return
    raise AssertionError("the run ended before it was killed")


def run_to_the_end(out: Path, game: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Return the outcome of an uninterrupted run."""
    with closing(make(out, game, **settings)) as loop:
        assert loop.train()
    return outcome(out)


def frames(run: Path) -> list[int]:
    """Return the frames of the run's checkpoints, ascending."""
    return [checkpoints.frame_of(path) for path in checkpoints.newest_first(run / "checkpoints")][::-1]


def checkpoint(run: Path, frame: int) -> Path:
    return run / "checkpoints" / f"frame_{frame:012d}"


def outcome(run: Path) -> dict[str, Any]:
    """Return everything that must not depend on interruptions."""
    last = checkpoint(run, frames(run)[-1])
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    return {
        "frames": frames(run),
        "weights": (last / checkpoints.WEIGHTS).read_bytes(),
        "state": (last / checkpoints.STATE).read_bytes(),
        "metrics": [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows],
        "episodes": (run / "episodes.csv").read_bytes(),
        "diagnostics": (run / "diagnostics.csv").read_bytes(),
    }


def same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Assert that two outcomes are equal, naming the first difference."""
    assert [row["frame"] for row in first["metrics"]] == [row["frame"] for row in second["metrics"]]
    for name in first:
        assert first[name] == second[name], name


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files under a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
