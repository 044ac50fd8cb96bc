"""Aggregates: rliable's examples, published medians, and a slow form for unequal numbers of runs."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from scipy.stats import trim_mean

from hadamax.published import published_agents, random_human
from hadamax.studies.scores import human_normalised
from hadamax.studies.statistics import AGGREGATES, Runs, aggregate


def by_game(matrix: list[list[float]]) -> dict[str, list[float]]:
    """Return a table from a matrix of runs x games, as in rliable."""
    return {f"game {i}": list(column) for i, column in enumerate(zip(*matrix, strict=True))}


# rliable, tests/rliable/metrics_test.py
X = by_game([[1, 2], [2, 2], [1, 1], [2, 1]])
Y = by_game([[1, 1], [2, 2], [3, 3]])


@pytest.mark.parametrize(("scores", "expected"), [(X, 1.5), (Y, 2.0)], ids=["x", "y"])
def test_examples_of_rliable(scores: dict[str, list[float]], expected: float) -> None:
    found = aggregate(scores)
    assert (found["median"], found["mean"], found["iqm"]) == (expected, expected, expected)


def test_aggregates_by_hand() -> None:
    found = aggregate({"a": [0.0, 1.0], "b": [2.0, 4.0], "c": [0.5, 9.5]})
    assert found["mean"] == pytest.approx((0.5 + 3 + 5) / 3)
    assert found["median"] == 3.0
    assert found["iqm"] == pytest.approx((0.5 + 1 + 2 + 4) / 4)  # of 0, .5, 1, 2, 4, 9.5 one goes at each end
    assert found["optimality_gap"] == pytest.approx(1 - (0 + 1 + 1 + 1 + 0.5 + 1) / 6)


# Median and mean over 57 games, no-op starts, in percent: Bellemare et al. 2017 (arXiv 1707.06887), Figure 6. Its means
# come out with a random score of 0 in VideoPinball, whose own random score is nearly the human's.
@pytest.mark.parametrize(("agent", "median", "mean"), [("dqn", 79, 228), ("dueling_ddqn", 151, 373), ("c51", 178, 701)])
def test_published_medians_and_means(agent: str, median: int, mean: int) -> None:
    raw = published_agents()[agent]
    scores = {game: [float(human_normalised(score, game))] for game, score in raw.items()}
    assert round(100 * aggregate(scores)["median"]) == median
    scores["VideoPinball"] = [raw["VideoPinball"] / random_human()["VideoPinball"][1]]
    assert round(100 * aggregate(scores)["mean"]) == mean


def slow(scores: dict[str, list[float]]) -> dict[str, float]:
    """Repeat runs until all games have equally many (a multiple of 4), then use lists and scipy."""
    copies = 4 * math.lcm(*(len(row) for row in scores.values()))
    equal = [score for row in scores.values() for score in row * (copies // len(row))]
    means = [statistics.fmean(row) for row in scores.values()]
    return {
        "median": statistics.median(means),
        "iqm": float(trim_mean(equal, 0.25)),
        "mean": statistics.fmean(means),
        "optimality_gap": 1 - statistics.fmean(min(score, 1.0) for score in equal),
    }


@pytest.mark.parametrize("seed", range(5))
def test_unequal_numbers_of_runs_equal_a_slow_form(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = {f"game {i}": generator.normal(1, 2, generator.integers(1, 6)).tolist() for i in range(7)}
    scores["one more"] = generator.normal(1, 2, 7).tolist()
    assert aggregate(scores) == pytest.approx(slow(scores), rel=1e-12)


def test_equal_numbers_of_runs_equal_scipy() -> None:
    scores = np.random.default_rng(0).normal(1, 2, (6, 5))  # 30 runs: 7 go at each end, not 7.5
    found = aggregate(dict(enumerate(scores)))  # type: ignore[arg-type]
    assert found["iqm"] == pytest.approx(float(trim_mean(scores, 0.25, axis=None)), rel=1e-12)


def test_games_have_equal_weight() -> None:
    once = aggregate({"a": [0.0, 1.0, 2.0, 7.0], "b": [5.0]})
    repeated = aggregate({"a": [0.0, 1.0, 2.0, 7.0], "b": [5.0] * 4})
    assert once["iqm"] == pytest.approx(repeated["iqm"])
    assert once["mean"] == pytest.approx(repeated["mean"])


def test_batched_tables_equal_single_tables() -> None:
    values = np.random.default_rng(1).normal(size=(4, 3, 5))
    for function in AGGREGATES.values():
        alone = [float(function(Runs(table, None))) for table in values]
        np.testing.assert_allclose(function(Runs(values, None)), alone, rtol=1e-12)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({}, "no game"),
        ({"Pong": []}, "Pong: expected one score per run"),
        ({"Pong": [[1.0]]}, "Pong: expected one score per run"),
        ({"Pong": [1.0, math.nan]}, "Pong: nan is not finite"),
    ],
)
def test_invalid_scores_are_errors(scores: dict[str, list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        aggregate(scores)
