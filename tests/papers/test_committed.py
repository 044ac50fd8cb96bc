"""The figures and verdicts under `results/` equal those computed from the committed runs."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from tests.runs.runs import hadamax

from hadamax.papers.output import style_of

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module", params=["hr-minatar", "hr-minatar-dqn"])
def committed(request: pytest.FixtureRequest) -> Path:
    return RESULTS / str(request.param)


@pytest.fixture(scope="module")
def drawn(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    assert hadamax("paper", "hr-table-2", "--runs", committed, "--out", out).code == 0
    return out


def table(folder: Path) -> dict[str, float]:
    """Return the dead fraction per variant."""
    rows = csv.DictReader(io.StringIO((folder / "hr-table-2.csv").read_text()))
    return {row["variant"]: float(row["ours_at_the_end"]) for row in rows}


def test_committed_numbers_are_reproduced(committed: Path, drawn: Path) -> None:
    assert (drawn / "hr-table-2.txt").read_text() == (committed / "figures" / "hr-table-2.txt").read_text()
    assert table(drawn) == pytest.approx(table(committed / "figures"))


def test_page_states_the_verdicts_and_numbers(committed: Path, drawn: Path) -> None:
    page = (committed / "README.md").read_text().splitlines()
    said = (drawn / "hr-table-2.txt").read_text()
    claims = re.findall(r"^claim: (.*): (holds|does not hold|inconclusive) ", said, re.MULTILINE)
    assert len(claims) >= 7
    for claim, verdict in claims:
        (line,) = [line for line in page if line.startswith(f"| {claim} |")]
        assert line.split("|")[5].strip(" *") == verdict
    heads = next(line for line in page if "published (DQN, Atari)" in line).split("|")
    place = [head.strip() for head in heads].index("mean")
    for variant, dead in table(drawn).items():
        line = next(line for line in page if line.startswith(f"| {style_of(variant, 0).label} |"))
        assert float(line.split("|")[place]) == pytest.approx(100 * dead, abs=0.051)
