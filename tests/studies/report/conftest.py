"""One synthetic study and its report, shared by all tests that only read it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from tests.studies.report.synthetic import VARIANTS, write_run, write_study

from hadamax.studies.ledger import ASIDE, Ledger
from hadamax.studies.report import Choices, Report, write_report

GAMES = ("Alien", "Breakout", "Pong", "Qbert", "Seaquest", "SpaceInvaders", "VideoPinball")


class Made(NamedTuple):
    root: Path
    out: Path
    report: Report


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two variants, seven games and three seeds, plus a stopped, a damaged and a set-aside run."""
    place = tmp_path_factory.mktemp("made")
    root, out = place / "study", place / "report"
    write_study(root, VARIANTS, GAMES, 3, rows=50, measurements=5)
    write_run(root, "hadamax", "Pong", 4, rows=50, part=0.5)
    broken = write_run(root, "hadamax", "Pong", 5, rows=50)
    (broken / "config.toml").write_text("x = [")
    (root / "hadamax" / "Pong" / "seed-6").mkdir()
    (root / "hadamax" / "Pong" / "seed-6" / "metrics.csv").write_text("")
    Ledger(root).add("hadamax/Pong/seed-7", ASIDE, "training diverged and was stopped")
    return Made(root, out, write_report([root], out, Choices(), replicates=20_000))
