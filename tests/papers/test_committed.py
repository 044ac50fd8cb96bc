"""The figures and verdicts under `results/` are those of the runs that lie beside them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from tests.training.runs import hadamax

HR_MINATAR = Path(__file__).parents[2] / "results" / "hr-minatar"
LABELS = {"tanh": "Tanh", "tanh-hr": "Tanh (HR)", "sigmoid": "Sigmoid", "sigmoid-hr": "Sigmoid (HR)", "relu": "ReLU"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    assert hadamax("paper", "hr-table-2", "--runs", HR_MINATAR, "--out", out).code == 0
    return out


def table(folder: Path) -> dict[str, float]:
    """Dead fraction of each variant."""
    rows = csv.DictReader(io.StringIO((folder / "hr-table-2.csv").read_text()))
    return {row["variant"]: float(row["ours_at_the_end"]) for row in rows}


def test_the_numbers_come_out_again(drawn: Path) -> None:
    assert (drawn / "hr-table-2.txt").read_text() == (HR_MINATAR / "figures" / "hr-table-2.txt").read_text()
    assert table(drawn) == pytest.approx(table(HR_MINATAR / "figures"))


def test_the_page_says_what_they_say(drawn: Path) -> None:
    page = (HR_MINATAR / "README.md").read_text().splitlines()
    said = (drawn / "hr-table-2.txt").read_text()
    claims = re.findall(r"^claim: (.*): (holds|does not hold|cannot be told) ", said, re.MULTILINE)
    assert len(claims) == 10
    for claim, verdict in claims:
        (line,) = [line for line in page if line.startswith(f"| {claim} |")]
        assert line.split("|")[4].strip(" *") == verdict
    dead = table(drawn)
    for variant, label in LABELS.items():
        line = next(line for line in page if line.startswith(f"| {label} |"))
        assert float(line.split("|")[7]) == pytest.approx(100 * dead[variant], abs=0.051)
