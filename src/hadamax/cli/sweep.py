"""`hadamax sweep STUDY`: run a study on this machine or a Ray cluster, or print its commands."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from hadamax.cli.console import parse, say
from hadamax.errors import UserError
from hadamax.runs.folder import CONFIG, RunFolder
from hadamax.runs.machine import choose_threads
from hadamax.runs.settings import difference
from hadamax.runs.tracking import require_wandb
from hadamax.studies.cost import Cost, kind, measure
from hadamax.studies.ledger import Ledger
from hadamax.studies.local import Local, Watch, visible_gpus
from hadamax.studies.runs import PlannedRun, State
from hadamax.studies.status_table import states, summary, table, write_plan
from hadamax.studies.study import Study, StudyRun, read_study
from hadamax.studies.work import SweepEngine, work


@dataclass(frozen=True)
class Arguments:
    """Run a study: finished runs are skipped, interrupted runs are resumed."""

    study: Annotated[str, tyro.conf.Positional]
    """A study's TOML file, or the name of one that ships with the project."""
    out: str = "runs"
    """Folder of all studies; a run is written to OUT/STUDY/VARIANT/GAME/seed-N."""
    engine: Literal["local", "ray"] = "local"
    """Worker processes on this machine, or an existing Ray cluster whose nodes share the folder OUT."""
    workers: int | None = None
    """Runs at a time, each in a process of its own. [default: 1; with Ray, as many as fit]"""
    threads: int = 0
    """Processor threads of each run; 0: an equal share of the cores; with Ray, 1."""
    gpus: float | None = None
    """GPUs of each run; below 1 a share of one. [default: the GPUs divided among the workers; with Ray, 0]"""
    ray_address: str = "auto"
    """HOST:PORT of the Ray cluster; auto: the one this machine belongs to."""
    episodes: int = 30
    """Whole games of each final evaluation."""
    shard: str = "1/1"
    """Take every n-th run from the i-th only (i/n), so that n machines or jobs share a study."""
    wandb: bool = False
    """Log every run to Weights & Biases too, offline without a key or network; needs the extra wandb."""
    retry: bool = False
    """Retry runs that were set aside after failures."""
    dry_run: bool = False
    """Print the runs and their cost by a short measurement, and run nothing."""
    measure: float = 60.0
    """Seconds that --dry-run measures in all, shared by the variants; 0: no measurement."""
    print_commands: bool = False
    """Print the command of each run, for a scheduler, and run nothing."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("threads", 0), ("episodes", 1), ("gpus", 0), ("measure", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UserError(f"{name}: {value} is too small; expected {least} or more")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise UserError(f"gpus: {self.gpus} is invalid; expected a share of a GPU or a number of GPUs: 0.25, 1, 2")


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax sweep")
    study = read_study(given.study)
    if given.engine == "ray":  # its tasks run on other machines
        given = replace(given, out=str(Path(given.out).absolute()))
    folder = Path(given.out) / study.name
    _refuse_others(study, Path(given.out))
    runs = _runs(study, given)
    mine = _shard(runs, given.shard)
    ledger = Ledger(folder)
    if given.print_commands:
        for one in mine:
            print(shlex.join(["hadamax", *one.arguments]))
        return 0
    if given.dry_run:
        found = states(folder, [run.name for run in mine], ledger.set_aside())
        threads, workers = max((run.threads for run in mine), default=1), given.workers or 1
        seconds, games = given.measure, given.episodes
        dry_run(study, folder, found, seconds=seconds, workers=workers, threads=threads, episodes=games)
        return 0
    try:
        engine = _engine(given, folder, max((run.threads for run in mine), default=1))
        write_plan(folder, runs)
        if given.retry:
            ledger.try_again([run.name for run in mine])
        with Watch(folder, mine) as watch:
            work(folder, mine, engine, watch)
    except OSError as error:
        raise UserError(f"out: {error.filename or folder} cannot be written: {error.strerror}") from None
    except KeyboardInterrupt:
        say("interrupted; the same command continues the study")
        raise
    return _end(folder, mine, ledger)


def _end(folder: Path, runs: list[PlannedRun], ledger: Ledger) -> int:
    aside = {name: reason for name, reason in ledger.set_aside().items() if name in {run.name for run in runs}}
    frames = {run.name: run.frames for run in runs}
    Console(width=140).print(table(folder, frames, states(folder, frames, aside), aside, everything=False))
    if aside:
        number = "1 run was" if len(aside) == 1 else f"{len(aside)} runs were"
        raise UserError(f"study: {number} set aside; see {ledger.path}; --retry runs them again")
    return 0


def _engine(given: Arguments, folder: Path, threads: int) -> SweepEngine:
    if given.engine == "ray":
        from hadamax.studies.on_ray import OnRay

        return OnRay(folder, given.ray_address, workers=given.workers, gpus=given.gpus or 0.0, threads=threads)
    workers = given.workers or 1
    devices = visible_gpus()
    gpus = given.gpus if given.gpus is not None else min(1.0, len(devices) / workers)
    if gpus > len(devices):
        raise UserError(f"gpus: {gpus:g} of each run are more than the {len(devices)} of this machine")
    return Local(folder, workers=workers, gpus=gpus, gpu_names=devices)


def _refuse_others(study: Study, out: Path) -> None:
    """Refuse existing runs of other settings under this study's names.

    Raises:
        UserError: there is one.
    """
    for run in study.runs:
        folder = run.folder(out)
        if not (folder / CONFIG).exists():
            continue
        try:
            _, algorithm, there = RunFolder.open(folder)
        except UserError:  # damaged: reported when it is attempted
            continue
        other = difference(run.algorithm, run.settings, algorithm, there)
        if other:
            raise UserError(f"study: {folder} is a run with {other}; give the study another name, or another --out")


def _runs(study: Study, given: Arguments) -> list[PlannedRun]:
    if given.wandb:
        require_wandb()
    share = given.threads or (1 if given.engine == "ray" else max(1, choose_threads(0) // (given.workers or 1)))
    runs = []
    for one in study.runs:
        threads = int(one.given.get("threads") or share)
        own = [] if "threads" in one.given else [f"--threads={share}"]
        own += ["--wandb"] if given.wandb else []
        arguments = (*one.arguments(given.out), *own, "--resume", "--evaluate", str(given.episodes))
        runs.append(PlannedRun(one.id, arguments, one.settings.run.frames, threads))
    return runs


def _shard(runs: list[PlannedRun], shard: str) -> list[PlannedRun]:
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard: {shard!r} is invalid; expected i/n with i from 1 to n, such as 1/4")
    return runs[int(match[1]) - 1 :: int(match[2])]


Costs = Mapping[tuple[str, str], Cost]


def dry_run(
    study: Study, folder: Path, found: Mapping[str, str], *, seconds: float, workers: int, threads: int, episodes: int
) -> None:
    """Print the runs and their cost.

    Args:
        found: the state of each requested run.
        seconds: of measuring; 0: none.
    """
    runs = [run for run in study.runs if run.id in found]
    costs = measure(runs, seconds=seconds, workers=workers, threads=threads) if seconds else {}
    Console(width=140).print(_table(runs, found, costs))
    print("\n".join(study.listing()))
    print(f"in {folder}: {summary(found)}")
    if costs:
        _print_cost(runs, folder, found, costs, seconds, workers, threads, episodes)


def _table(runs: list[StudyRun], found: Mapping[str, str], costs: Costs) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("run", "state", "frames", "frames/s", "hours", "MB"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    for run in runs:
        frames = run.settings.run.frames
        cells = [run.id, found[run.id], f"{frames:,}"]
        if costs:
            cost = costs[kind(run)]
            hours, disk = cost.hours(frames), cost.disk(run.settings)
            cells += [f"{cost.frames_per_second:,.0f}", f"{hours:,.3g}", f"{disk / 1e6:,.3g}"]
        table.add_row(*cells)
    return table


def _print_cost(
    runs: list[StudyRun],
    folder: Path,
    found: Mapping[str, str],
    costs: Costs,
    seconds: float,
    workers: int,
    threads: int,
    episodes: int,
) -> None:
    undone = [run for run in runs if found[run.id] != State.DONE]
    for name, some in (("all", runs), ("what is left of them", undone)):
        hours = sum(costs[kind(run)].hours(run.settings.run.frames) for run in some)
        disk = sum(costs[kind(run)].disk(run.settings) for run in some)
        at_once = f"{hours / workers:,.3g} h with {workers} at a time"
        print(f"{name}: {hours:,.3g} h of training, {at_once}; {disk / 1e9:,.3g} GB")
    each = f"{seconds / len(costs):.1f} s or an iteration for each kind of run, of {len(costs)}"
    print(f"measured on this machine: {each}, {workers} at a time, threads {threads}")
    print(f"not included: starting each run, its diagnostics, its {episodes} final games")
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    print(f"free disk: {shutil.disk_usage(place).free / 1e9:,.3g} GB")
