"""`hadamax sweep STUDY`: every run of a study, on this machine or as commands for others."""

from __future__ import annotations

import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.live import Live

from hadamax.commands.arguments import parse, say
from hadamax.errors import UserError
from hadamax.experiments.ledger import Ledger
from hadamax.experiments.local import Job, Local
from hadamax.experiments.runs import Run
from hadamax.experiments.study import Study, read_study
from hadamax.experiments.table import states, summary, table
from hadamax.training.machine import choose_threads

SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_TABLES = 2.0


@dataclass(frozen=True)
class Arguments:
    """Run what a study still lacks: runs that are done are left alone, runs that were stopped go on."""

    study: Annotated[str, tyro.conf.Positional]
    """A study's TOML file, or the name of one that ships with the project."""
    out: str = "runs"
    """Folder of all studies: a run goes to OUT/STUDY/VARIANT/GAME/seed-N."""
    workers: int = 1
    """Runs at a time, each in a process of its own."""
    threads: int = 0
    """Processor threads of each run; 0: an equal share of the cores."""
    episodes: int = 30
    """Whole games of each final evaluation."""
    shard: str = "1/1"
    """Every n-th run only, from the i-th: i/n, so that n machines or jobs share a study."""
    dry_run: bool = False
    """Say what there is to run, and run nothing."""
    print_commands: bool = False
    """Print the command of each run, for a scheduler, and run nothing."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("threads", 0), ("episodes", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name}: {getattr(self, name)} is too small; valid: {least} or more")


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax sweep")
    study = read_study(given.study)
    folder = Path(given.out) / study.name
    runs = _shard(_runs(study, given), given.shard)
    names = [one.name for one in runs]
    ledger = Ledger(folder)
    if given.print_commands:
        for one in runs:
            print(shlex.join(["hadamax", "train", *one.train]))
    elif given.dry_run:
        print("\n".join(study.listing()))
        print(f"below {folder}: {summary(states(folder, names, ledger.set_aside()))}")
    else:
        Local(folder, runs, workers=given.workers, look=_Watch(folder, names)).work()
        aside = ledger.set_aside()
        Console(width=140).print(table(folder, states(folder, names, aside), aside, everything=False))
        if aside.keys() & set(names):
            raise UserError(f"study: {len(aside.keys() & set(names))} runs were set aside; see {ledger.path}")
    return 0


def _runs(study: Study, given: Arguments) -> list[Run]:
    threads = str(given.threads or max(1, choose_threads(0) // given.workers))
    evaluate = ("--episodes", str(given.episodes), "--threads", threads)
    runs = []
    for one in study.runs:
        share = () if "threads" in one.given else ("--threads", threads)
        runs.append(Run(one.id, (*one.arguments(given.out)[1:], *share), evaluate))
    return runs


def _shard(runs: list[Run], shard: str) -> list[Run]:
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard: {shard!r} is not a share; valid: i/n with i from 1 to n, such as 1/4")
    return runs[int(match[1]) - 1 :: int(match[2])]


class _Watch:
    """Shows a study while it runs: a live table on a terminal, a line now and then elsewhere."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self.names = folder, names
        self.next = 0.0
        self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __call__(self, jobs: list[Job]) -> None:
        now = time.monotonic()
        if now < self.next:
            return
        aside = Ledger(self.folder).set_aside()
        found = states(self.folder, self.names, aside)
        if sys.stderr.isatty():
            self.next = now + SECONDS_BETWEEN_TABLES
            self.live.start()
            self.live.update(table(self.folder, found, aside, everything=False), refresh=True)
            if not jobs:
                self.live.stop()
        else:
            self.next = now + SECONDS_BETWEEN_LINES
            say(summary(found))
