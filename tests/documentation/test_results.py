"""The tables on pages under `results/` equal the output of their scripts on the committed runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hadamax.benchmark.contender import Ratio

pytestmark = pytest.mark.end_to_end

RESULTS = Path(__file__).parents[2] / "results"


def rows(text: str) -> list[str]:
    """Return table rows with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("folder", "script", "arguments"),
    [
        ("precision", "compare.py", ["precision", "--out", "{out}/curves.png"]),
        ("frontier", "frontier/frontier.py", ["frontier", "--minutes", "10", "--out", "{out}"]),
        ("demo", "summary.py", [f"demo/seed-{seed}" for seed in range(1, 6)]),
    ],
)
def test_tables_equal_script_output(folder: str, script: str, arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, script, *(argument.format(out=tmp_path) for argument in arguments)]
    printed = rows(subprocess.run(command, cwd=RESULTS, capture_output=True, text=True, check=True).stdout)
    assert len(printed) > 6
    page = rows((RESULTS / folder / "README.md").read_text())
    assert [row for row in printed if row not in page] == []


def test_benchmark_page_equals_its_json() -> None:
    page = rows((RESULTS / "speed" / "README.md").read_text())
    paths = list((RESULTS / "speed").glob("*.json"))
    assert paths
    for path in paths:
        for name, found in json.loads(path.read_text())["ratios"].items():
            assert any(row.startswith(f"| {name} | {Ratio(**found)} |") for row in page), name
