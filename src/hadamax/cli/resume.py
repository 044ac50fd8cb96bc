"""`hadamax resume RUN`: go on where the last checkpoint left off, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hadamax.cli.arguments import parse
from hadamax.cli.train import go_on


@dataclass(frozen=True)
class Arguments:
    """Go on with a run that was interrupted or killed."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run."""


def run(arguments: list[str]) -> int:
    given = parse(Arguments, arguments, "hadamax resume")
    return go_on(Path(given.run))
