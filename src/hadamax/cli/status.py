"""`hadamax status STUDY`: show the progress of every run of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from hadamax.cli.console import parse
from hadamax.errors import UserError
from hadamax.runs.folder import RunFolder
from hadamax.studies.ledger import Ledger
from hadamax.studies.runs import State
from hadamax.studies.status_table import UNREADABLE, planned, states, table


@dataclass(frozen=True)
class Arguments:
    """Show the progress of the runs below a folder, whichever process trains them."""

    study: Annotated[str, tyro.conf.Positional]
    """Folder of the study, or any folder with runs below it."""


def run(arguments: list[str]) -> int:
    given = parse(Arguments, arguments, "hadamax status")
    study = Path(given.study)
    frames = planned(study)
    if not frames:
        raise UserError(f"study: {study} has no runs below it; begin some with: hadamax sweep")
    aside = Ledger(study).set_aside()
    found = states(study, frames, aside)
    damaged = _damaged(study, found)
    found.update(dict.fromkeys(damaged, UNREADABLE))
    Console(width=140).print(table(study, frames, found, aside, everything=True))
    for name, reason in damaged.items():
        print(f"{name} is unreadable: {reason}")
    return 0


def _damaged(study: Path, found: Mapping[str, str]) -> dict[str, str]:
    """Return the reason by name for each run whose settings cannot be read."""
    reasons = {}
    for name, state in found.items():
        if state == State.WAITING:
            continue
        try:
            RunFolder.open(study / name)
        except UserError as error:
            reasons[name] = str(error)
    return reasons
