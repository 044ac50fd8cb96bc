"""Status of a study as a terminal table: number of runs by state, and the progress of active runs."""

from __future__ import annotations

import csv
import io
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hadamax.files import write_atomically
from hadamax.runs.folder import CONFIG
from hadamax.runs.logs import duration, read_csv
from hadamax.studies.runs import PlannedRun, RunProgress, State, progress_of, state_of

ASIDE = "set aside"
UNREADABLE = "unreadable"  # by `hadamax status`; a sweep tries the run
PLAN = "plan.csv"


def write_plan(study: Path, runs: Sequence[PlannedRun]) -> None:
    """Write the list of planned runs, so that `hadamax status` also counts runs that have not started."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("run", "frames"), *((run.name, run.frames) for run in runs)])
    study.mkdir(parents=True, exist_ok=True)
    plan = study / PLAN
    if not plan.exists() or plan.read_text() != text.getvalue():
        write_atomically(plan, text.getvalue().encode())


def planned(study: Path) -> dict[str, int]:
    """Return the frames of each run by name, for planned runs and for other runs in the folder."""
    plan = {row["run"]: int(row["frames"]) for row in read_csv(study / PLAN) if (row.get("frames") or "").isdecimal()}
    there = sorted(str(path.parent.relative_to(study)) for path in study.rglob(CONFIG))
    return {**plan, **{name: _frames(study / name) for name in there if name not in plan}}


def states(study: Path, names: Iterable[str], aside: Mapping[str, str], known: Iterable[str] = ()) -> dict[str, str]:
    """Return the state of each run by name; runs `known` to be done are not read again."""
    done = set(known)
    return {
        name: ASIDE if name in aside else str(State.DONE if name in done else state_of(study / name)) for name in names
    }


def summary(found: Mapping[str, str]) -> str:
    """Summarise states, as in "12 runs: 3 done, 2 running, 7 waiting"."""
    counts = Counter(found.values())
    order = [State.DONE, State.TRAINED, State.RUNNING, State.STOPPED, State.WAITING, UNREADABLE, ASIDE]
    parts = [f"{counts[name]} {name}" for name in order if counts[name]]
    return f"{len(found)} run{'' if len(found) == 1 else 's'}: {', '.join(parts) or 'none'}"


def table(
    study: Path, frames: Mapping[str, int], found: Mapping[str, str], aside: Mapping[str, str], *, everything: bool
) -> Group:
    """Return the summary with the time left, and a table with a row per active run, or per run if `everything`.

    Args:
        frames: total frames of each run.
    """
    shown = Table(box=None, pad_edge=False)
    for column in ("run", "state", "frames", "frames/s", "left", "score", "from"):
        shown.add_column(column, justify="left" if column in ("run", "state", "from") else "right")
    rows = {name: progress_of(study / name) for name, state in found.items() if everything or _is_open(state)}
    for name, progress in rows.items():
        shown.add_row(name, found[name], *_cells(progress, frames[name], found[name]))
    why = [Text(f"{name} was set aside: {reason}") for name, reason in aside.items() if name in found]
    left = _left(frames, found, rows)
    head = summary(found) + (f"; {duration(left)} left" if left else "")
    return Group(head, *([shown] if rows else []), *why)


def _is_open(state: str) -> bool:
    return state not in (State.DONE, State.WAITING)


def _cells(progress: RunProgress, frames: int, state: str) -> tuple[str, ...]:
    if state == State.WAITING:
        return ("",) * 5
    score = "" if progress.score is None else f"{progress.score:,.1f}"
    left = ""
    if state == State.RUNNING and progress.frames_per_second:
        left = duration(max(frames - progress.frame, 0) / progress.frames_per_second)
    rate = f"{progress.frames_per_second:,.0f}" if progress.frames_per_second else ""
    return f"{progress.frame:,}", rate, left, score, progress.source


def _left(frames: Mapping[str, int], found: Mapping[str, str], rows: Mapping[str, RunProgress]) -> float:
    """Estimate the seconds of training left at the current frame rate; 0 if nothing is running."""
    rate = sum(rows[name].frames_per_second for name, state in found.items() if state == State.RUNNING)
    undone = [name for name, state in found.items() if state not in (State.DONE, State.TRAINED, UNREADABLE, ASIDE)]
    left = sum(max(frames[name] - (rows[name].frame if name in rows else 0), 0) for name in undone)
    return left / rate if rate else 0.0


def _frames(folder: Path) -> int:
    """Return the total frames of the run's settings."""
    try:
        return int(tomllib.loads((folder / CONFIG).read_text())["run"]["frames"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
