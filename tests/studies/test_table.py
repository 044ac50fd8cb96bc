"""The status table of a study."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hadamax.studies.runs import State
from hadamax.studies.status_table import ASIDE, table


def shown(study: Path, found: dict[str, str], aside: dict[str, str], *, everything: bool) -> list[str]:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table(study, dict.fromkeys(found, 512), found, aside, everything=everything))
    return capture.get().splitlines()


def test_heading_only_above_rows(tmp_path: Path) -> None:
    done = dict.fromkeys(("a/Pong/seed-1", "a/Pong/seed-2"), str(State.DONE))
    assert shown(tmp_path, done, {}, everything=False) == ["2 runs: 2 done"]
    waiting = dict.fromkeys(done, str(State.WAITING))
    assert shown(tmp_path, waiting, {}, everything=False) == ["2 runs: 2 waiting"]
    first, heading, *rows = shown(tmp_path, done, {}, everything=True)
    assert (first, heading.split()[:2]) == ("2 runs: 2 done", ["run", "state"])
    assert [row.split()[0] for row in rows] == list(done)


def test_reason_for_setting_aside_is_below_its_row(tmp_path: Path) -> None:
    found = {"a/Pong/seed-1": ASIDE, "a/Pong/seed-2": str(State.DONE)}
    _, heading, row, why = shown(tmp_path, found, {"a/Pong/seed-1": "it failed"}, everything=False)
    assert heading.split()[0] == "run"
    assert row.split()[:3] == ["a/Pong/seed-1", "set", "aside"]
    assert why == "a/Pong/seed-1 was set aside: it failed"
