"""`hadamax status STUDY`: how far every run of a study is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from hadamax.commands.arguments import parse
from hadamax.errors import UserError
from hadamax.experiments.ledger import Ledger
from hadamax.experiments.table import planned, states, table


@dataclass(frozen=True)
class Arguments:
    """How far the runs below a folder are, whoever works on them."""

    study: Annotated[str, tyro.conf.Positional]
    """Folder of the study, or any folder with runs below it."""


def run(arguments: list[str]) -> int:
    given = parse(Arguments, arguments, "hadamax status")
    study = Path(given.study)
    frames = planned(study)
    if not frames:
        raise UserError(f"study: {study} has no runs below it; begin some with: hadamax sweep")
    aside = Ledger(study).set_aside()
    Console(width=140).print(table(study, frames, states(study, frames, aside), aside, everything=True))
    return 0
