"""`hadamax train ALGORITHM`: start or resume a run, train to its end, draw its learning curve."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from hadamax.algorithms import ALGORITHMS
from hadamax.cli.console import parse, say
from hadamax.errors import UserError, unknown
from hadamax.runs.curve import draw_curve
from hadamax.runs.folder import CONFIG, Finished, RunFolder, evaluated, finished, mark
from hadamax.runs.logs import duration
from hadamax.runs.loop import Loop
from hadamax.runs.settings import TrainSettings, difference, read_toml, settings_type, toml_arguments
from hadamax.runs.setup import resolve, resume, start


def run(arguments: list[str]) -> int:
    names = ", ".join(ALGORITHMS)
    if not arguments or arguments[0].startswith("-"):
        if arguments and arguments[0] in ("-h", "--help"):
            print(f"usage: hadamax train ALGORITHM [--config FILE.toml] [SETTINGS]\nalgorithms: {names}")
            return 0
        raise UserError(f"algorithm: none given; expected hadamax train {names}")
    algorithm, *rest = arguments
    kind = settings_type(algorithm)
    resuming, rest = _flag("resume", rest)
    games, rest = _games(rest)
    rest = _with_preset(_with_config(rest, algorithm), algorithm)
    presets = ", ".join(ALGORITHMS[algorithm].presets) or "none"
    settings = parse(
        kind,
        rest,
        f"hadamax train {algorithm}",
        f"Train with {algorithm}. Settings given here override those of a TOML file (--config FILE.toml, same names "
        f"with _ for -), which override those of a preset (--preset NAME; available: {presets}). --resume continues "
        "the run if its folder exists. --evaluate GAMES plays that many whole games at the end.",
    )
    existing = _existing_run(algorithm, settings) if resuming else None
    return resume_run(existing, games) if existing else train(start(algorithm, settings, say), games)


def train(loop: Loop, games: int = 0) -> int:
    """Train to the end or to an interruption, and report; then play `games` whole games."""
    path = loop.folder.path
    with closing(loop):
        done = loop.train()
        if done and games:
            _say_end(loop)
            return _evaluate(path, games)
        if not done:  # a dying parent sends SIGTERM once per thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _draw(loop.folder)
    if not done:
        say(loop.recorder.throughput())
        say(f"interrupted at {_frames(loop)}, checkpoint written; continue with: hadamax resume {path}")
        return 130
    _say_end(loop)
    print(f"learning curve: {loop.folder.curve}")
    if loop.diagnostics.measurements:
        share = loop.diagnostics.seconds / loop.recorder.seconds_here
        print(f"diagnostics: {loop.folder.diagnostics}, {share:.1%} of the time; next: hadamax diagnose {path}")
    print(f"next: hadamax evaluate {path} --episodes 30")
    return 0


def resume_run(path: Path, games: int = 0) -> int:
    """Resume the run at `path` and train to its end; then play `games` whole games, unless that was done."""
    folder, _, _ = RunFolder.open(path)  # raises if it is not a run
    ended = finished(path)
    if ended is None:
        loop = resume(path, say)
        if not loop.finished():
            say(f"resuming at frame {loop.algorithm.frames:,} of {loop.settings.frames:,}")
            return train(loop, games)
        with closing(loop):
            ended = Finished(loop.algorithm.frames, loop.recorder.latest_score())
            mark(path, ended.score)
    if not folder.curve.exists():  # killed before the curve was drawn
        _draw(folder)
    print(f"{path} is finished: {ended.frame:,} frames, {ended.score}")
    if not games:
        print(f"next: hadamax evaluate {path} --episodes 30")
    elif evaluated(path) is None:
        folder.lock()
        try:
            return _evaluate(path, games)
        finally:
            folder.unlock()
    return 0


def _draw(folder: RunFolder) -> None:
    try:
        draw_curve(folder.path, folder.curve)
    except OSError as error:
        raise UserError(
            f"out: {folder.curve} cannot be written: {error.strerror}; the run itself is complete"
        ) from None


def _evaluate(path: Path, games: int) -> int:
    from hadamax.cli import evaluate

    _, _, settings = RunFolder.open(path)
    return evaluate.run([str(path), f"--episodes={games}", f"--device={settings.run.device}"])


def _existing_run(algorithm: str, settings: TrainSettings[Any]) -> Path | None:
    """Return the folder of the run to resume; None if it does not exist.

    Raises:
        UserError: the folder holds a run with other settings.
    """
    requested = resolve(algorithm, settings)
    path = Path(requested.run.out)
    if not (path / CONFIG).exists():
        return None
    requested = replace(
        requested, run=replace(requested.run, device=settings.run.device, precision=settings.run.precision)
    )
    _, its_algorithm, there = RunFolder.open(path)
    other = difference(algorithm, requested, its_algorithm, there)
    if other:
        raise UserError(f"out: {path} holds a run with {other}; choose another folder")
    return path


def _frames(loop: Loop) -> str:
    return f"{loop.algorithm.frames:,} of {loop.settings.frames:,} frames"


def _say_end(loop: Loop) -> None:
    print(f"{_frames(loop)} in {duration(loop.recorder.seconds)} at {loop.recorder.throughput()}")
    print(f"score: {loop.recorder.latest_score()}")


def _games(arguments: list[str]) -> tuple[int, list[str]]:
    """Return the number of games of `--evaluate` (0 if absent) and the other arguments."""
    value, rest = _take("evaluate", "GAMES", arguments)
    if value is not None and (not value.isdecimal() or not int(value)):
        raise UserError(f"evaluate: {value!r} is not a number of games; expected 1 or more")
    return int(value or 0), rest


def _flag(option: str, arguments: list[str]) -> tuple[bool, list[str]]:
    """Return True if a switch is given, and the other arguments."""
    return f"--{option}" in arguments, [argument for argument in arguments if argument != f"--{option}"]


def _with_config(arguments: list[str], algorithm: str) -> list[str]:
    """Insert the settings of `--config FILE.toml` before the others, which override them."""
    file, rest = _take("config", "FILE.toml", arguments)
    return rest if file is None else toml_arguments(read_toml(Path(file)), algorithm, Path(file)) + rest


def _with_preset(arguments: list[str], algorithm: str) -> list[str]:
    """Insert the settings of `--preset NAME` before the others, which override them."""
    name, rest = _take("preset", "NAME", arguments)
    if name is None:
        return rest
    presets = ALGORITHMS[algorithm].presets
    if not presets:
        raise UserError(f"preset: {name!r} is unknown; {algorithm} has none")
    if name not in presets:
        raise unknown("preset", name, presets)
    return toml_arguments(dict(presets[name]), algorithm, Path(f"preset {name}")) + rest


def _take(option: str, what: str, arguments: list[str]) -> tuple[str | None, list[str]]:
    """Return the value of an option (None if absent) and the other arguments."""
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag == f"--{option}":
            if not equals and i + 1 == len(arguments):
                raise UserError(f"{option}: none given; expected --{option} {what}")
            value = value if equals else arguments[i + 1]
            return value, arguments[:i] + arguments[i + (1 if equals else 2) :]
    return None, arguments
