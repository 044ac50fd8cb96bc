"""`hadamax resume RUN`: go on where the last checkpoint left off, bit for bit."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hadamax.commands.arguments import parse, say
from hadamax.commands.train import train
from hadamax.training.finished import Finished, finished, mark
from hadamax.training.folder import RunFolder
from hadamax.training.run import resume


@dataclass(frozen=True)
class Arguments:
    """Go on with a run that was interrupted or killed."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run."""


def run(arguments: list[str]) -> int:
    given = parse(Arguments, arguments, "hadamax resume")
    path = Path(given.run)
    RunFolder.open(path)  # says so where it is not a run
    ended = finished(path)
    if ended is None:
        loop = resume(path, say)
        if not loop.finished():
            say(f"going on at frame {loop.algorithm.frames:,} of {loop.settings.frames:,}")
            return train(loop)
        with closing(loop):
            ended = Finished(loop.algorithm.frames, loop.recorder.latest_score())
            mark(path, ended.score)
    print(f"{path} is finished: {ended.frame:,} frames, {ended.score}")
    print(f"next: hadamax evaluate {path} --episodes 30")
    return 0
