"""Profiles and curves against counting, interpolation by hand, and pointwise intervals."""

from __future__ import annotations

import numpy as np
import pytest

from hadamax.studies.statistics import (
    Runs,
    aggregate_intervals,
    common_frames,
    iqm,
    mean,
    performance_profile,
    sample_efficiency,
    step_values,
)

X = {f"g{i}": column for i, column in enumerate(np.arange(80.0).reshape(5, 16).T)}  # rliable, tests/library_test.py


def test_profile_counts_runs() -> None:
    taus = [0.0, 0.25, 0.5, 1.0, 39.5, 79.0]
    found = performance_profile(X, taus, replicates=200)
    runs = np.concatenate(list(X.values()))
    np.testing.assert_allclose(found.estimate, [np.mean(runs > tau) for tau in taus])
    assert found.low is not None
    assert found.high is not None
    assert (found.low <= found.estimate).all()
    assert (found.estimate <= found.high).all()
    assert found.low[4] < found.estimate[4] < found.high[4]


def test_profile_gives_games_equal_weight() -> None:
    found = performance_profile({"a": [0.0, 0.0, 2.0, 2.0], "b": [2.0]}, [1.0], replicates=20)
    assert found.estimate.tolist() == [0.75]


def test_profile_band_equals_pointwise_intervals() -> None:
    scores = {"a": [0.0, 1.0, 2.0], "b": [0.5, 3.0]}
    band = performance_profile(scores, [0.7, 1.5], replicates=400, seed=3)
    for i, tau in enumerate([0.7, 1.5]):
        above = {game: (np.array(row) > tau).astype(float) for game, row in scores.items()}
        one = aggregate_intervals(above, {"share": mean}, replicates=400, seed=3)["share"]
        assert (band.low[i], band.high[i]) == pytest.approx((one.low, one.high))  # type: ignore[index]


def test_steps_hold_the_last_logged_value() -> None:
    found = step_values([10, 20, 40], [1.0, 2.0, 4.0], [5, 10, 15, 20, 39.9, 40, 41])
    np.testing.assert_array_equal(found, [np.nan, 1, 1, 2, 2, 4, np.nan])
    assert np.isnan(step_values([], [], [1, 2])).all()


@pytest.mark.parametrize(("frames", "words"), [([1, 1], "increasing"), ([1], r"frames \(1,\) and scores \(2,\)")])
def test_invalid_curves_are_errors(frames: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        step_values(frames, [1.0, 2.0], [1])


def test_common_frames() -> None:
    curves = {"a": [([10, 50], [0, 1]), ([5, 60], [0, 1])], "b": [([20, 90], [0, 1])]}
    np.testing.assert_allclose(common_frames(curves, 4), [20, 30, 40, 50])
    together = {"a": [([10, 20, 60], [0, 1, 2])] * 2, "b": [([10, 20, 60], [3, 1, 2])]}
    np.testing.assert_allclose(common_frames(together, 4), [10, 20, 60])  # as measured
    np.testing.assert_allclose(common_frames(together, 2), [10, 60])
    with pytest.raises(ValueError, match="starts at frame 20, another ends at 15"):
        common_frames({"a": [([10, 15], [0, 1])], "b": [([20, 90], [0, 1])]})
    with pytest.raises(ValueError, match="a run without a logged score"):
        common_frames({"a": [([], [])]})


def test_sample_efficiency_is_the_aggregate_at_each_frame() -> None:
    generator = np.random.default_rng(0)
    curves = {
        game: [(np.cumsum(generator.integers(1, 9, 30)), generator.normal(size=30)) for _ in range(runs)]
        for game, runs in {"a": 4, "b": 2, "c": 3}.items()
    }
    grid = common_frames(curves, 5)
    found = sample_efficiency(curves, grid, replicates=300, seed=2)
    for i, frame in enumerate(grid):
        scores = {}
        for game, rows in curves.items():
            scores[game] = [max((f, s) for f, s in zip(x, y, strict=True) if f <= frame)[1] for x, y in rows]
        assert found.estimate[i] == pytest.approx(float(iqm(Runs.of(scores))))
        one = aggregate_intervals(scores, {"iqm": iqm}, replicates=300, seed=2)["iqm"]
        assert (found.low[i], found.high[i]) == pytest.approx((one.low, one.high))  # type: ignore[index]


def test_curve_ends_with_its_shortest_run() -> None:
    with pytest.raises(ValueError, match="nan is not finite"):
        sample_efficiency({"a": [([1, 5], [0.0, 1.0])]}, [3, 6])


def test_curve_of_single_runs_has_no_band() -> None:
    found = sample_efficiency({"a": [([1, 5], [0.0, 1.0])]}, [1, 5])
    assert (found.estimate.tolist(), found.low, found.high) == ([0.0, 1.0], None, None)
    assert "is unknown" in found.note
