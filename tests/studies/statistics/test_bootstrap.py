"""Bootstrap intervals against all resamples and known distributions."""

from __future__ import annotations

import itertools
import re
import statistics

import numpy as np
import pytest
from scipy.stats import bootstrap, trim_mean
from tests.studies.statistics.test_aggregates import slow

from hadamax.studies.statistics import AGGREGATES, Runs, aggregate_intervals
from hadamax.studies.statistics.runs import resamples


def test_mean_equals_all_resamples() -> None:
    """Two games of 3 and 2 runs have 27 x 4 equally likely resamples; their quantiles are the interval."""
    scores = {"a": [0.0, 1.0, 5.0], "b": [2.0, 3.0]}
    every = [
        (statistics.fmean(a) + statistics.fmean(b)) / 2
        for a in itertools.product(scores["a"], repeat=3)
        for b in itertools.product(scores["b"], repeat=2)
    ]
    low, high = np.quantile(every, [0.1, 0.9])
    found = aggregate_intervals(scores, confidence=0.8, replicates=20_000, seed=1)["mean"]
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.estimate == 2.25
    assert found.note == ""


def test_resampled_games_equal_all_resamples() -> None:
    """Every draw of games with every draw of runs; a game drawn twice draws its runs twice."""
    scores = {"a": [0.0, 1.0], "b": [4.0, 10.0]}
    means = {
        game: [statistics.fmean(runs) for runs in itertools.product(row, repeat=2)] for game, row in scores.items()
    }
    every = [
        (first + second) / 2
        for games in itertools.product(scores, repeat=2)
        for first in means[games[0]]
        for second in means[games[1]]
    ]
    found = aggregate_intervals(scores, confidence=0.7, replicates=40_000, resample_games=True)["mean"]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.15, 0.85])), abs=1e-9)


@pytest.mark.parametrize("name", list(AGGREGATES))
@pytest.mark.parametrize("counts", [[4, 4, 4], [2, 5, 3]], ids=["equal", "unequal"])
@pytest.mark.parametrize("games", [False, True], ids=["runs", "games too"])
def test_replicates_equal_separate_tables(name: str, counts: list[int], games: bool) -> None:
    generator = np.random.default_rng(0)
    rows = [generator.normal(1, 1, n) for n in counts]
    runs = Runs.of(dict(enumerate(rows)))  # type: ignore[arg-type]
    (positions, drawn_counts), *_ = resamples(runs, 20, np.random.default_rng(1), games=games)
    drawn = Runs(runs.values.ravel()[positions], drawn_counts)
    for i, found in enumerate(AGGREGATES[name](drawn)):
        tables = [row[~np.isnan(row)] for row in drawn.values[i]]
        if not games:
            assert [len(row) for row in tables] == counts
        for game, row in enumerate(tables):  # every drawn run is of one game, and of this one
            sources = [j for j, source in enumerate(rows) if np.isin(row, source).all()]
            assert sources
            assert games or sources == [game]
            assert len(row) == counts[sources[0]]
        expected = slow({str(game): row.tolist() for game, row in enumerate(tables)})[name]
        assert found == pytest.approx(expected, rel=1e-9)


def test_draws_are_uniform_and_independent_per_game() -> None:
    runs = Runs.of({"a": [0.0, 1.0, 2.0], "b": [3.0, 4.0]})
    values = np.concatenate([runs.values.ravel()[p] for p, _ in resamples(runs, 5000, np.random.default_rng(0))])
    for score, game, expected in [(0.0, 0, 1 / 3), (2.0, 0, 1 / 3), (3.0, 1, 1 / 2)]:
        share = np.nanmean(np.where(np.isnan(values[:, game]), np.nan, values[:, game] == score))
        assert share == pytest.approx(expected, abs=0.02)
    both = np.mean((values[:, 0, 0] == 0) & (values[:, 1, 0] == 3))
    assert both == pytest.approx(1 / 6, abs=0.02)


def test_one_game_equals_scipy() -> None:
    row = np.random.default_rng(2).normal(size=12)
    theirs = bootstrap(
        (row,), lambda x, axis: trim_mean(x, 0.25, axis=axis), n_resamples=20_000, method="percentile", rng=0
    )
    ours = aggregate_intervals({"a": row}, replicates=20_000)["iqm"]
    expected = (theirs.confidence_interval.low, theirs.confidence_interval.high)
    assert (ours.low, ours.high) == pytest.approx(expected, abs=0.03)


def test_seed_repeats_and_matters() -> None:
    scores = {"a": [0.0, 1.0, 5.0], "b": [2.0, 3.0, 8.5]}
    assert aggregate_intervals(scores, replicates=300, seed=5) == aggregate_intervals(scores, replicates=300, seed=5)
    assert aggregate_intervals(scores, replicates=300, seed=5) != aggregate_intervals(scores, replicates=300, seed=6)


def test_batches_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs.of({"a": [0.0, 1.0, 5.0], "b": [2.0]})
    monkeypatch.setattr("hadamax.studies.statistics.runs.CHUNK", 6 * 7)
    sizes = [len(positions) for positions, _ in resamples(runs, 17, np.random.default_rng(0))]
    assert sizes == [7, 7, 3]


@pytest.mark.parametrize(
    ("scores", "games", "told", "note"),
    [
        ({"a": [1.0], "b": [2.0]}, False, False, "one run per game: the variation over seeds is unknown"),
        ({"a": [1.0], "b": [2.0]}, True, True, "one run per game: the variation over seeds is unknown"),
        (
            {"a": [1.0, 3.0], "b": [2.0]},
            False,
            True,
            "one run in 1 of 2 games: .* not included",
        ),
        ({"a": [1.0, 3.0]}, True, True, "one game: the variation over games is unknown"),
        ({"a": [1.0]}, True, False, "one run per game: .*; one game: the variation over games is unknown"),
    ],
)
def test_too_few_runs_are_inconclusive(scores: dict[str, list[float]], games: bool, told: bool, note: str) -> None:
    found = aggregate_intervals(scores, replicates=50, resample_games=games)["iqm"]
    assert re.fullmatch(note, found.note)
    assert (found.low is not None) is told
    assert (found.high is not None) is told


@pytest.mark.parametrize(
    ("options", "words"), [({"replicates": 0}, "replicates: 0"), ({"confidence": 1.0}, "confidence: 1.0")]
)
def test_invalid_options_are_errors(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        aggregate_intervals({"a": [1.0, 2.0]}, **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_intervals_have_their_coverage_in_a_full_study() -> None:
    """57 games x 5 seeds x 6 variants of mean 1 and deviation 1: coverage and width."""
    generator = np.random.default_rng(0)
    variants = [{f"g{i}": generator.normal(1, 1, 5) for i in range(57)} for _ in range(6)]
    for scores in variants:
        found = aggregate_intervals(scores, replicates=50_000)
        assert found["iqm"].low is not None
        mean = found["mean"]
        assert mean.low is not None
        assert mean.high is not None
        assert mean.low < mean.estimate < mean.high
        assert mean.high - mean.low == pytest.approx(2 * 1.96 * (4 / 5) ** 0.5 / (57 * 5) ** 0.5, rel=0.15)
