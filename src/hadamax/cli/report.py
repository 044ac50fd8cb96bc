"""`hadamax report RUNS --out DIR`: write a page, tables and figures about runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hadamax.cli.console import parse, say
from hadamax.errors import UserError


@dataclass(frozen=True)
class Arguments:
    """Report on runs: one HTML page, its tables as CSV, its figures as SVG and PDF."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Folders with runs in or below them: a study, or several."""
    out: str = "report"
    """Folder of the report. An earlier report there is replaced; any other folder is refused."""
    title: str = ""
    """Title of the page. [default: the names of the folders]"""
    baseline: str = ""
    """Variant that the others are compared with. [default: the one with the plainest encoder]"""
    source: Literal["auto", "evaluation", "test", "training"] = "auto"
    """Source of scores: games after training, greedy test games, training games; auto: the first that half of the runs
    have."""
    variants: tuple[str, ...] = ()
    """Report on these variants only."""
    unfinished: bool = False
    """Include unfinished runs."""
    allow_mixed: bool = False
    """Pool runs of different protocols or training lengths; the page says so."""
    replicates: int = 50_000
    """Bootstrap replicates of the aggregates."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("runs: none given; expected folders with runs below them; see: hadamax report --help")
        if self.replicates < 1:
            raise UserError(f"replicates: {self.replicates} is too small; expected 1 or more")


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax report")
    from hadamax.studies.report import Choices, write_report

    choices = Choices(
        given.baseline,
        "" if given.source == "auto" else given.source,
        given.variants,
        given.unfinished,
        given.allow_mixed,
    )
    roots = [Path(root) for root in given.runs]
    report = write_report(roots, Path(given.out), choices, title=given.title, replicates=given.replicates, say=say)
    print(report.headline.sentence)
    for line in (*report.headline.verdicts, *report.headline.cautions):
        print(f"- {line}")
    print(report.page)
    return 0
