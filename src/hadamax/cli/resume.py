"""`hadamax resume RUN`: continue from the last checkpoint, bit-for-bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hadamax.cli.console import parse
from hadamax.cli.train import resume_run


@dataclass(frozen=True)
class Arguments:
    """Continue a run that was interrupted or killed."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run."""


def run(arguments: list[str]) -> int:
    given = parse(Arguments, arguments, "hadamax resume")
    return resume_run(Path(given.run))
