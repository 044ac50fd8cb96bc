"""`hadamax train ALGORITHM`: start a run, train it to its end, draw its curve."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from hadamax.algorithms import ALGORITHMS
from hadamax.commands.arguments import parse, say
from hadamax.errors import UserError
from hadamax.training.curve import draw_curve
from hadamax.training.finished import mark
from hadamax.training.loop import Loop
from hadamax.training.progress import duration
from hadamax.training.run import start
from hadamax.training.settings import read_toml, settings_type, toml_arguments


def run(arguments: list[str]) -> int:
    names = ", ".join(ALGORITHMS)
    if not arguments or arguments[0].startswith("-"):
        if arguments and arguments[0] in ("-h", "--help"):
            print(f"usage: hadamax train ALGORITHM [--config FILE.toml] [SETTINGS]\nalgorithms: {names}")
            return 0
        raise UserError(f"algorithm: none given; valid: hadamax train {names}")
    algorithm, *rest = arguments
    kind = settings_type(algorithm)
    rest = _with_config(rest, algorithm)
    settings = parse(
        kind,
        rest,
        f"hadamax train {algorithm}",
        f"Train with {algorithm}. A setting in a TOML file "
        "(--config FILE.toml, named as here with _ for -) yields to the same one given here.",
    )
    return train(start(algorithm, settings, say))


def train(loop: Loop) -> int:
    """Train to the end, or to an interruption, and say what came of it."""
    path = loop.folder.path
    with closing(loop):
        done = loop.train()
        if done:
            mark(path, loop.recorder.latest_score())
    try:
        draw_curve(path, loop.folder.curve)
    except OSError as error:
        raise UserError(f"out: {loop.folder.curve} cannot be written: {error.strerror}; the run is whole") from None
    frames = f"{loop.algorithm.frames:,} of {loop.settings.frames:,} frames"
    if not done:
        say(f"{loop.recorder.throughput()} until here")
        say(f"interrupted at {frames}, checkpoint written; go on with: hadamax resume {path}")
        return 130
    print(f"{frames} in {duration(loop.recorder.seconds)} at {loop.recorder.throughput()}")
    print(f"score: {loop.recorder.latest_score()} (means of the last games: 100 of training, 20 of test)")
    print(f"learning curve: {loop.folder.curve}")
    if loop.diagnostics.measurements:
        share = loop.diagnostics.seconds / loop.recorder.seconds_here
        print(f"diagnostics: {loop.folder.diagnostics}, {share:.1%} of the time; next: hadamax diagnose {path}")
    print(f"next: hadamax evaluate {path} --episodes 30")
    return 0


def _with_config(arguments: list[str], algorithm: str) -> list[str]:
    """Put the settings of `--config FILE.toml` before the others, which then win."""
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag == "--config":
            if not equals and i + 1 == len(arguments):
                raise UserError("config: no file given; valid: --config FILE.toml")
            path = Path(value if equals else arguments[i + 1])
            rest = arguments[:i] + arguments[i + (1 if equals else 2) :]
            return toml_arguments(read_toml(path), algorithm, path) + rest
    return arguments
