"""The documentation explains every column that a run writes, and no other."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest
from tests.documentation.blocks import ROOT
from tests.documentation.test_commands import SHORT

from hadamax.algorithms import ALGORITHMS
from hadamax.cli import main
from hadamax.runs.diagnostics import COLUMNS

sys.path.insert(0, str(ROOT / "docs" / "_site"))
from tables import metrics

PAGE = (ROOT / "docs" / "metrics.md").read_text()
SECTIONS = dict(re.findall(r"^## ([\w.]+)\n(.*?)(?=^## |\Z)", metrics(), re.MULTILINE | re.DOTALL))


def explained(text: str) -> set[str]:
    """Return the names in the first column."""
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_columns_of_metrics_csv_are_documented(name: str, tmp_path: Path) -> None:
    command = f"train {name} --env CartPole-v1 --out {tmp_path / 'run'} {SHORT[name]}"
    if name in ("pqn", "ppo"):
        command += " --redo-every 16"
    assert main(command.split()) == 0
    with open(tmp_path / "run" / "metrics.csv") as file:
        written = set(next(csv.reader(file)))
    shared = explained(SECTIONS["pqn"])
    assert written <= explained(SECTIONS[name]) | shared
    assert explained(SECTIONS[name]) - shared <= written
    with open(tmp_path / "run" / "episodes.csv") as file:
        assert all(f"`{column}`" in PAGE for column in next(csv.reader(file)))


def test_columns_of_diagnostics_csv_are_documented() -> None:
    whole = explained(SECTIONS["diagnostics.csv"]) | set(re.findall(r"`(\w+)`", PAGE))
    # Counts beside a rank.
    assert set(COLUMNS) - whole <= {"map_samples"}
