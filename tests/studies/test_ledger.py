"""The ledger: concurrent writers, an incomplete last row, retries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hadamax.runs.logs import read_csv
from hadamax.studies.ledger import AGAIN, ASIDE, COLUMNS, ENDED, FAILED, STARTED, Ledger


def test_concurrent_writers_share_one_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for i in range(40):
            pool.submit(Ledger(tmp_path).add, f"run-{i % 10}", STARTED)
            pool.submit(Ledger(tmp_path).add, f"run-{i % 10}", ENDED, "whole", once=True)
    lines = (tmp_path / "ledger.csv").read_text().splitlines()
    assert lines.count(",".join(COLUMNS)) == 1
    assert len(lines) == 1 + 40 + 10
    for i in range(10):
        assert sorted(Ledger(tmp_path).events(f"run-{i}")) == [ENDED, *[STARTED] * 4]


def test_incomplete_last_row_is_ignored(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add("a", STARTED)
    with open(ledger.path, "a") as file:
        file.write("2026-11-21T15:00:00,host,b")
    ledger.add("c", ENDED, 'with a comma, a "quote" and\na new line')
    assert (ledger.events("a"), ledger.events("b"), ledger.events("c")) == ([STARTED], [], [ENDED])
    assert read_csv(ledger.path)[-1]["detail"] == 'with a comma, a "quote" and a new line'
    assert ledger.set_aside() == {}


def test_runs_are_set_aside_and_retried(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for _ in range(2):
        ledger.add("a", FAILED, "it broke")
    ledger.add("a", ASIDE, "it broke; see a.log")
    ledger.add("b", FAILED, "once")
    assert ledger.failures() == {"a": ["it broke", "it broke"], "b": ["once"]}
    assert ledger.set_aside() == {"a": "it broke; see a.log"}
    ledger.try_again(["b"])
    assert ledger.set_aside().keys() == {"a"}
    ledger.try_again(["a", "b"])
    assert (ledger.set_aside(), ledger.failures()) == ({}, {"b": ["once"]})
    assert ledger.events("a")[-1] == AGAIN
