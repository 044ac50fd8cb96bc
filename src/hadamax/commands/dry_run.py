"""What `hadamax sweep --dry-run` prints: the runs, their cost in hours from a short measurement, the disk they need."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hadamax.experiments.cost import Cost, kind, measure
from hadamax.experiments.runs import State
from hadamax.experiments.study import Study, StudyRun
from hadamax.experiments.table import summary

Costs = Mapping[tuple[str, str], Cost]


def dry_run(
    study: Study, folder: Path, found: Mapping[str, str], *, seconds: float, workers: int, threads: int, episodes: int
) -> None:
    """Print what there is to run.

    Args:
        found: the state of each run that is asked for.
        seconds: of measuring; 0: none.
    """
    runs = [run for run in study.runs if run.id in found]
    costs = measure(runs, seconds=seconds, workers=workers, threads=threads) if seconds else {}
    Console(width=140).print(_table(runs, found, costs))
    print("\n".join(study.listing()))
    print(f"below {folder}: {summary(found)}")
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
    print(f"not in it: starting each run, its diagnostics, its {episodes} final games")
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    print(f"free there: {shutil.disk_usage(place).free / 1e9:,.3g} GB")
