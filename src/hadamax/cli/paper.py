"""`hadamax paper NAME`: make a figure or table of the papers.

`hadamax paper list` lists them with their cost; `hadamax paper verdicts` writes the page of evidence, `evidence.md`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tomli_w
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hadamax.cli import sweep
from hadamax.cli.console import parse, say
from hadamax.errors import UserError, unknown
from hadamax.files import write_atomically
from hadamax.papers.claims import TESTS
from hadamax.papers.evidence import findings, page, summary
from hadamax.papers.panels import Request
from hadamax.papers.registry import EXHIBITS, Exhibit
from hadamax.papers.runs import MissingRuns, Need, Scale, find, in_common_games, size, study_content
from hadamax.studies.collect import Run

LIST, VERDICTS = "list", "verdicts"


@dataclass(frozen=True)
class Arguments:
    """Make a figure or table of the papers: a picture, its numbers, and published and measured values."""

    name: Annotated[str, tyro.conf.Positional]
    """list; a name from it, such as hr-table-1; or verdicts, which judges every claim from the runs in --runs."""
    out: str = "figures"
    """Folder for NAME.png, NAME.csv and NAME.txt, or for evidence.md."""
    runs: str | None = None
    """Folder with the runs of a figure. [default: none; see --start]"""
    start: bool = False
    """Start missing runs, at the paper's scale unless the next three settings are given."""
    games: tuple[str, ...] = ()
    """Games instead of the paper's."""
    seeds: int | None = None
    """Seeds instead of the paper's, from 1; for a regression, their number."""
    frames: int | None = None
    """Emulator frames of each run instead of the paper's."""
    workers: int = 1
    """Runs at a time."""
    threads: int = 0
    """Processor threads of each run; 0: an equal share of the cores."""

    def __post_init__(self) -> None:
        for name, least in (("seeds", 1), ("frames", 1), ("workers", 1), ("threads", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name}: {value} is too small; expected {least} or more")


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax paper")
    if given.name == LIST:
        show_list()
        return 0
    if given.name == VERDICTS:
        write_verdicts(Path(given.runs or "results"), Path(given.out))
        return 0
    if given.name not in EXHIBITS:
        raise unknown("paper", given.name, [LIST, VERDICTS, *EXHIBITS], most=len(EXHIBITS) + 2)
    exhibit = EXHIBITS[given.name]
    if exhibit.draw is None:
        raise UserError(f"paper: {given.name} is not available yet: {exhibit.waits}")
    scale = Scale(given.games, given.seeds, given.frames)
    found: dict[str, list[Run]] = {}
    if exhibit.needs:
        found = _runs(given, exhibit, scale)
    elif given.runs or given.start or given.games or given.frames:
        raise UserError(f"runs: {given.name} needs no runs; leave out --runs, --start, --games and --frames")
    elif given.seeds and not exhibit.repeated:
        raise UserError(f"seeds: {given.name} has none; leave --seeds out")
    remarks = []
    for study, runs in found.items():
        found[study], remark = in_common_games(runs)
        remarks += [remark] if remark else []
    try:
        output = exhibit.draw(Request(given.name, exhibit.title, found, given.seeds))
    except MissingRuns as error:
        raise UserError(f"{error}; to create them: {_command(given)}") from None
    output = replace(output, notes=[*remarks, *output.notes])
    print(f"{given.name}: {exhibit.title}")
    print("\n".join(output.lines()))
    for path in output.write(given.name, exhibit.title, Path(given.out)):
        print(f"wrote {path}")
    return 0


def write_verdicts(results: Path, out: Path) -> None:
    """Write evidence.md: every claim of the papers with its verdict.

    Raises:
        UserError: `results` has no runs of the studies that test claims.
    """
    found = findings(results)
    if not found:
        studies = ", ".join(test.study for test in TESTS)
        raise UserError(f"runs: {results} has no study that tests a claim; expected a folder with one of {studies}")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "evidence.md", page(found).encode())
    print(f"{summary(found)}\nwrote {out / 'evidence.md'}")


# -- runs ----------------------------------------------------------------------------------------------------------


def _runs(given: Arguments, exhibit: Exhibit, scale: Scale) -> dict[str, list[Run]]:
    """Return the runs of each study that the figure needs; start them with --start."""
    if given.runs is None and not given.start and not scale:
        sizes = "; ".join(f"{size(need)} of study {need.study}" for need in exhibit.needs)
        raise UserError(
            f"runs: {given.name} needs {sizes}; take them from a folder with --runs FOLDER, start them with --start, "
            "or smaller with --games, --seeds, --frames"
        )
    folder = Path(given.runs or "runs")
    if given.start or given.runs is None:
        for need in exhibit.needs:
            _start(given, need, scale, folder)
    command = _command(given)
    found: dict[str, list[Run]] = {}
    problems = []
    for number, need in enumerate(exhibit.needs):
        try:
            # A second study contributes its algorithm only; its other runs would repeat the first study.
            runs, left_out = find(need, folder, scale, command, any_algorithm=number == 0)
        except UserError as error:
            problems.append(error)
            continue
        found[need.study] = [*found.get(need.study, []), *runs]
        for line in left_out:
            say(f"left out: {line}")
    if not found:
        raise problems[0]
    for problem in problems:
        say(f"left out: {problem}")
    return found


def _command(given: Arguments) -> str:
    """Return the command that makes the runs, at the requested scale."""
    words = ["hadamax", "paper", given.name, "--start"]
    for option in ("runs", "seeds", "frames"):
        value = getattr(given, option)
        words += [f"--{option}", str(value)] if value is not None else []
    words += ["--games", *given.games] if given.games else []
    return shlex.join(words)


def _start(given: Arguments, need: Need, scale: Scale, folder: Path) -> None:
    """Run missing runs with `hadamax sweep`; the study's definition is written beside its runs."""
    content = study_content(need, scale)
    file = folder / f"{content['name']}-{given.name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, tomli_w.dumps(content).encode())
    workers = ["--workers", str(given.workers), "--threads", str(given.threads)]
    command = [str(file), "--out", str(folder), *workers]
    say(f"{size(need)} at the paper's scale; hadamax sweep {shlex.join(command)}")
    sweep.run(command)


# -- the list ------------------------------------------------------------------------------------------------------


def show_list() -> None:
    """Print every figure, table and question with its cost and where results exist."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "what it is", "needs", "done"):
        table.add_column(column, no_wrap=column == "name")
    for name, exhibit in EXHIBITS.items():
        table.add_row(name, exhibit.title, Text(needs(exhibit)), exhibit.done or ("not yet" if exhibit.needs else "-"))
    Console(width=150).print(table)
    print(USAGE)


def needs(exhibit: Exhibit) -> str:
    """Describe the duration, the number of runs, or what is missing."""
    if exhibit.waits:
        return f"waits: {exhibit.waits}"
    return exhibit.effort or "; ".join(f"{size(need)}, study {need.study}" for need in exhibit.needs)


USAGE = """
hadamax paper NAME --out figures                     what needs no runs
hadamax paper NAME --runs FOLDER                     from runs that are there, other games' and algorithms' too
hadamax paper NAME --start --workers 8               start what is missing at the paper's scale, below ./runs; resumable
hadamax paper NAME --games Pong Breakout --seeds 2 --frames 10_000_000    the same, smaller
hadamax paper verdicts --runs results --out docs     every claim of the papers with its verdict: docs/evidence.md
"""
