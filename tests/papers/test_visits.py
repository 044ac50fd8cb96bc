"""Scores visit by visit of real runs on two games in sequence, against their CSV files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from tests.runs.runs import SEQUENCE, hadamax, make

from hadamax.papers.measures import final_values
from hadamax.papers.visits import read_visits, visit_scores
from hadamax.runs import diagnostics
from hadamax.studies.collect import Run, collect

GAMES = ("MinAtar/Breakout-v1", "MinAtar/Asterix-v1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("visits") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "OBSERVATIONS", 64)
        for variant, activation in (("relu", "relu"), ("tanh-hr", "tanh")):
            for seed in (1, 2):
                out = root / variant / ",".join(GAMES).replace("/", "-") / f"seed-{seed}"
                every = {"log_every": 64, "diagnostics_every": 640, "frames": 5120, "activation": activation}
                loop = make(out, {**SEQUENCE, **every}, lambda line: None, seed=seed)
                assert loop.train()
                loop.close()
    return root


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Run]:
    found, problems = collect([folder])
    assert not problems
    return found


def last_scores(run: Run) -> list[float]:
    """Return the last logged test score of each visit, from the change of game in the log."""
    rows = list(csv.DictReader((run.path / "metrics.csv").read_text().splitlines()))
    ends = [i for i in range(len(rows)) if i + 1 == len(rows) or rows[i]["game"] != rows[i + 1]["game"]]
    starts = [0, *(end + 1 for end in ends)]
    parts = [rows[a : b + 1] for a, b in zip(starts, ends, strict=False)]
    return [[float(row["test_return"]) for row in part if row["test_return"]][-1] for part in parts]


def test_visits_are_read_in_order(runs: list[Run]) -> None:
    for run in runs:
        visits = read_visits(run)
        assert [visit.game for visit in visits] == [*GAMES, *GAMES]
        assert [visit.end for visit in visits] == [1280, 2560, 3840, 5120]
        assert [visit.scores[-1] for visit in visits] == last_scores(run)


def test_gain_is_the_last_visit_minus_the_first_in_the_range_of_all_runs(runs: list[Run]) -> None:
    gains, last = (final_values(runs, measure, "relu") for measure in ("gain", "last visit"))
    visits = [visit for run in runs for visit in read_visits(run)]
    for number, game in enumerate(GAMES):
        points = np.concatenate([visit.scores for visit in visits if visit.game == game])
        span = points.max() - points.min()
        for variant in ("relu", "tanh-hr"):
            raw = [last_scores(run) for run in runs if run.variant == variant]
            expected = [(scores[number + 2] - scores[number]) / span for scores in raw]
            assert gains[variant][game] == pytest.approx(expected)
            ends = [(scores[number + 2] - points.min()) / span for scores in raw]
            assert last[variant][game] == pytest.approx(ends)


def test_each_visit_has_one_normalised_score(runs: list[Run]) -> None:
    for of_runs in visit_scores(runs).values():
        assert all(len(visit.scores) == 1 for visits in of_runs for visit in visits)


def test_figure_has_scores_dead_units_and_ranks(folder: Path, tmp_path: Path) -> None:
    result = hadamax("paper", "question-continual", "--runs", folder, "--out", tmp_path)
    assert result.code == 0, result
    rows = list(csv.DictReader((tmp_path / "question-continual.csv").read_text().splitlines()))
    scores = [row for row in rows if row["panel"] == "score" and row["variant"] == "tanh-hr"]
    assert [int(row["frame"]) for row in scores] == [1280, 2560, 3840, 5120]
    assert {row["panel"] for row in rows} == {"score", "dead units", "effective rank"}
