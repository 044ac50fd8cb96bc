"""A study as a person sees it: how many runs are how far, and those that are at work."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hadamax.experiments.runs import State, progress_of, state_of
from hadamax.training.folder import CONFIG
from hadamax.training.progress import duration

ASIDE = "set aside"


def states(study: Path, names: Iterable[str], aside: Mapping[str, str]) -> dict[str, str]:
    """The state of each run by name."""
    return {name: ASIDE if name in aside else str(state_of(study / name)) for name in names}


def summary(found: Mapping[str, str]) -> str:
    """12 runs: 3 done, 2 running, 7 waiting."""
    counts = Counter(found.values())
    order = [State.DONE, State.TRAINED, State.RUNNING, State.STOPPED, State.WAITING, ASIDE]
    parts = [f"{counts[name]} {name}" for name in order if counts[name]]
    return f"{len(found)} runs: {', '.join(parts) or 'none'}"


def table(study: Path, found: Mapping[str, str], aside: Mapping[str, str], *, everything: bool) -> Group:
    """The summary, and a row for each run (unless `everything`, for those that are begun and not done)."""
    shown = Table(box=None, pad_edge=False)
    for column in ("run", "state", "frames", "frames/s", "left", "score", "from"):
        shown.add_column(column, justify="left" if column in ("run", "state", "from") else "right")
    quiet = (State.DONE, State.WAITING)
    for name, state in found.items():
        if everything or state not in quiet:
            shown.add_row(name, state, *_numbers(study / name, state))
    why = [Text(f"{name} was set aside: {reason}") for name, reason in aside.items() if name in found]
    return Group(summary(found), shown, *why)


def _numbers(folder: Path, state: str) -> tuple[str, ...]:
    if state == State.WAITING:
        return ("",) * 5
    progress = progress_of(folder)
    score = "" if progress.score is None else f"{progress.score:,.1f}"
    left = ""
    if state == State.RUNNING and progress.frames_per_second:
        left = duration((_frames(folder) - progress.frame) / progress.frames_per_second)
    rate = f"{progress.frames_per_second:,.0f}" if progress.frames_per_second else ""
    return f"{progress.frame:,}", rate, left, score, progress.source


def _frames(folder: Path) -> int:
    """The length that the run's settings ask for."""
    try:
        return int(tomllib.loads((folder / CONFIG).read_text())["run"]["frames"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
