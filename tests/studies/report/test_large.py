"""A report of 600 runs is complete and small."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.studies.report.synthetic import VARIANTS, write_run, write_study

from hadamax.studies.report import Choices, write_report
from hadamax.studies.suites import suite_games


@pytest.mark.slow
def test_report_of_600_runs_is_small(tmp_path: Path) -> None:
    games = suite_games("Atari-57")
    write_study(tmp_path / "runs", VARIANTS, games, 5, rows=200, measurements=8)
    for game in games[:30]:
        write_run(tmp_path / "runs", "hadamax", game, 6, rows=200, measurements=8)
    report = write_report([tmp_path / "runs"], tmp_path / "report", Choices())
    assert len(report.evidence.rows) == 600
    size = sum(path.stat().st_size for path in (tmp_path / "report").rglob("*") if path.is_file())
    assert size < 15e6
    assert report.page.stat().st_size < 8e6
