"""`hadamax resume RUN`: go on where the last checkpoint left off, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hadamax.commands.arguments import parse, say
from hadamax.commands.train import train
from hadamax.training.run import resume


@dataclass(frozen=True)
class Arguments:
    """Go on with a run that was interrupted or killed."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run."""


def run(arguments: list[str]) -> int:
    given = parse(Arguments, arguments, "hadamax resume")
    path = Path(given.run)
    loop = resume(path, say)
    if loop.finished():
        loop.close()
        print(f"{path} is finished: {loop.algorithm.frames:,} frames, {loop.recorder.latest_score()}")
        print(f"next: hadamax evaluate {path} --episodes 30")
        return 0
    say(f"going on at frame {loop.algorithm.frames:,} of {loop.settings.frames:,}")
    return train(loop)
