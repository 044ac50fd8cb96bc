"""`hadamax train ALGORITHM`: start a run or go on with one, train it to its end, draw its curve."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from hadamax.algorithms import ALGORITHMS
from hadamax.cli.arguments import parse, say
from hadamax.errors import UserError, unknown
from hadamax.runs.curve import draw_curve
from hadamax.runs.folder import CONFIG, Finished, RunFolder, evaluated, finished, mark
from hadamax.runs.loop import Loop
from hadamax.runs.progress import duration
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
        f"Train with {algorithm}. A setting in a TOML file "
        "(--config FILE.toml, named as here with _ for -) yields to the same one given here, and one of a preset "
        f"(--preset NAME; there are: {presets}) to both. With --resume, a run that is there already is gone on with; "
        "with --evaluate GAMES, as many whole games are played at the end.",
    )
    there = _there(algorithm, settings) if resuming else None
    return go_on(there, games) if there else train(start(algorithm, settings, say), games)


def train(loop: Loop, games: int = 0) -> int:
    """Train to the end, or to an interruption, and say what came of it; then play `games` whole games."""
    path = loop.folder.path
    with closing(loop):
        done = loop.train()
        if done and games:
            _say_end(loop)
            return _evaluate(path, games)
        if not done:  # a parent that dies sends SIGTERM once for each of its threads: it has been heard
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _draw(loop.folder)
    if not done:
        say(f"{loop.recorder.throughput()} until here")
        say(f"interrupted at {_frames(loop)}, checkpoint written; go on with: hadamax resume {path}")
        return 130
    _say_end(loop)
    print(f"learning curve: {loop.folder.curve}")
    if loop.diagnostics.measurements:
        share = loop.diagnostics.seconds / loop.recorder.seconds_here
        print(f"diagnostics: {loop.folder.diagnostics}, {share:.1%} of the time; next: hadamax diagnose {path}")
    print(f"next: hadamax evaluate {path} --episodes 30")
    return 0


def go_on(path: Path, games: int = 0) -> int:
    """Go on with the run at `path`, to its end; then play `games` whole games, unless they were played."""
    folder, _, _ = RunFolder.open(path)  # says so where it is not a run
    ended = finished(path)
    if ended is None:
        loop = resume(path, say)
        if not loop.finished():
            say(f"going on at frame {loop.algorithm.frames:,} of {loop.settings.frames:,}")
            return train(loop, games)
        with closing(loop):
            ended = Finished(loop.algorithm.frames, loop.recorder.latest_score())
            mark(path, ended.score)
    if not folder.curve.exists():  # killed before it was drawn
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
        raise UserError(f"out: {folder.curve} cannot be written: {error.strerror}; the run is whole") from None


def _evaluate(path: Path, games: int) -> int:
    from hadamax.cli import evaluate

    _, _, settings = RunFolder.open(path)
    return evaluate.run([str(path), f"--episodes={games}", f"--device={settings.run.device}"])


def _there(algorithm: str, settings: TrainSettings[Any]) -> Path | None:
    """The run to go on with; None where none was begun.

    Raises:
        UserError: another run is there.
    """
    asked = resolve(algorithm, settings)
    path = Path(asked.run.out)
    if not (path / CONFIG).exists():
        return None
    asked = replace(asked, run=replace(asked.run, device=settings.run.device, precision=settings.run.precision))
    _, its_algorithm, there = RunFolder.open(path)
    other = difference(algorithm, asked, its_algorithm, there)
    if other:
        raise UserError(f"out: {path} holds a run with {other}; choose another folder")
    return path


def _frames(loop: Loop) -> str:
    return f"{loop.algorithm.frames:,} of {loop.settings.frames:,} frames"


def _say_end(loop: Loop) -> None:
    print(f"{_frames(loop)} in {duration(loop.recorder.seconds)} at {loop.recorder.throughput()}")
    print(f"score: {loop.recorder.latest_score()}")


def _games(arguments: list[str]) -> tuple[int, list[str]]:
    """The number of games of `--evaluate`, 0 where it is not given, and the other arguments."""
    value, rest = _take("evaluate", "GAMES", arguments)
    if value is not None and (not value.isdecimal() or not int(value)):
        raise UserError(f"evaluate: {value!r} is not a number of games; expected 1 or more")
    return int(value or 0), rest


def _flag(option: str, arguments: list[str]) -> tuple[bool, list[str]]:
    """Whether a switch is given, and the other arguments."""
    return f"--{option}" in arguments, [argument for argument in arguments if argument != f"--{option}"]


def _with_config(arguments: list[str], algorithm: str) -> list[str]:
    """Put the settings of `--config FILE.toml` before the others, which then win."""
    file, rest = _take("config", "FILE.toml", arguments)
    return rest if file is None else toml_arguments(read_toml(Path(file)), algorithm, Path(file)) + rest


def _with_preset(arguments: list[str], algorithm: str) -> list[str]:
    """Put the settings of `--preset NAME` before the others, which then win."""
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
    """The value of an option, None where it is not given, and the other arguments."""
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag == f"--{option}":
            if not equals and i + 1 == len(arguments):
                raise UserError(f"{option}: none given; expected --{option} {what}")
            value = value if equals else arguments[i + 1]
            return value, arguments[:i] + arguments[i + (1 if equals else 2) :]
    return None, arguments
