"""Comparisons: rliable's example, hand-computed values, and scipy's equivalents."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from tests.studies.statistics.test_aggregates import X, Y

from hadamax.studies.statistics import (
    compare_games,
    compare_over_games,
    difference_intervals,
    holm,
    probability_of_improvement,
)


def test_example_of_rliable() -> None:
    assert probability_of_improvement(X, Y, replicates=50).estimate == pytest.approx(1 / 3)


def test_improvement_equals_mann_whitney() -> None:
    generator = np.random.default_rng(0)
    ours = {f"g{i}": generator.integers(0, 6, 3 + i % 3).astype(float) for i in range(5)}
    theirs = {f"g{i}": generator.integers(0, 6, 4 - i % 2).astype(float) for i in range(5)}
    found = probability_of_improvement(ours, theirs, replicates=50).estimate
    pairs = [np.mean([(x > y) + (x == y) / 2 for x, y in itertools.product(ours[g], theirs[g])]) for g in ours]
    ranks = [stats.mannwhitneyu(ours[g], theirs[g]).statistic / (ours[g].size * theirs[g].size) for g in ours]
    assert found == pytest.approx(np.mean(pairs))
    assert found == pytest.approx(np.mean(ranks))
    reverse = probability_of_improvement(theirs, dict(reversed(ours.items())), replicates=50).estimate
    assert found + reverse == pytest.approx(1.0)


def test_improvement_interval_equals_all_resamples() -> None:
    ours, theirs = [1.0, 3.0, 2.0], [0.0, 2.0, 4.0]
    every = [
        np.mean([(a > b) + (a == b) / 2 for a, b in itertools.product(x, y)])
        for x in itertools.product(ours, repeat=3)
        for y in itertools.product(theirs, repeat=3)
    ]
    found = probability_of_improvement({"g": ours}, {"g": theirs}, replicates=20_000, confidence=0.7)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.15, 0.85])))  # 2/9 and 7/9


def test_difference_interval_equals_all_resamples() -> None:
    """Means of two games' runs: 27 x 4 resamples of ours with 8 of theirs."""
    ours, theirs = {"g": [1.0, 3.0, 2.5], "h": [0.0, 4.0]}, {"g": [0.5, 1.0, 4.0], "h": [2.0, 2.0]}

    def means(scores: dict[str, list[float]]) -> list[float]:
        draws = itertools.product(*(list(itertools.product(row, repeat=len(row))) for row in scores.values()))
        return [float(np.mean([np.mean(row) for row in draw])) for draw in draws]

    every = [x - y for x, y in itertools.product(means(ours), means(theirs))]
    found = difference_intervals(ours, dict(reversed(theirs.items())), replicates=40_000, confidence=0.72)["mean"]
    assert found.estimate == pytest.approx(np.mean([6.5 / 3, 2.0]) - np.mean([5.5 / 3, 2.0]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.14, 0.86])), abs=0.02)
    assert difference_intervals({"g": [1.0]}, {"g": [0.5]})["iqm"][:3] == (0.5, None, None)
    with pytest.raises(ValueError, match="games: only one of the two has h"):
        difference_intervals(ours, {"g": [1.0]})


def test_improvement_of_single_runs_has_no_interval() -> None:
    found = probability_of_improvement({"g": [1.0]}, {"g": [0.0]})
    assert (found.estimate, found.low, found.high) == (1.0, None, None)
    assert "is unknown" in found.note


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).size == 0


@pytest.mark.parametrize("seed", range(3))
def test_holm_equals_its_definition(seed: int) -> None:
    """Step down: the smallest is rejected below alpha / m, the next below alpha / (m - 1), and so on."""
    p_values = np.random.default_rng(seed).uniform(0, 0.1, 8)
    adjusted = holm(p_values)
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for step, index in enumerate(np.argsort(p_values)):
            if p_values[index] > alpha / (8 - step):
                break
            rejected.add(index)
        assert set(np.flatnonzero(adjusted <= alpha)) == rejected


def variants(seed: int = 0, games: int = 10) -> dict[str, dict[str, list[float]]]:
    generator = np.random.default_rng(seed)
    shifts = {"base": 0.0, "better": 1.0, "same": 0.0}
    return {
        name: {f"g{i}": generator.normal(i + shift, 0.5, 3).tolist() for i in range(games)}
        for name, shift in shifts.items()
    }


@pytest.mark.parametrize("test", ["wilcoxon", "t"])
def test_comparison_over_games_equals_scipy(test: str) -> None:
    tables = variants()
    found = compare_over_games(tables, "base", test=test)  # type: ignore[arg-type]
    means = {name: [np.mean(row) for row in table.values()] for name, table in tables.items()}
    paired = stats.wilcoxon if test == "wilcoxon" else stats.ttest_rel
    raw = {name: float(paired(means[name], means["base"]).pvalue) for name in ("better", "same")}
    assert {name: c.p_value for name, c in found.items()} == pytest.approx(raw)
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    assert {name: c.adjusted for name, c in found.items()} == pytest.approx(adjusted)
    assert found["better"].difference == pytest.approx(np.mean(means["better"]) - np.mean(means["base"]))


def test_wilcoxon_equals_all_signs() -> None:
    """Five games, all better: of 32 equally likely sign patterns two are as extreme."""
    scores = {f"g{i}": [float(i)] for i in range(5)}
    found = compare_over_games({"base": scores, "up": {g: [s[0] * 2 + 1] for g, s in scores.items()}}, "base")["up"]
    assert found.p_value == pytest.approx(2 / 32)
    assert "p cannot be below 0.0625" in found.note


def test_wilcoxon_with_ties_equals_all_signs() -> None:
    differences = [1.0, 1.0, 2.0, -1.0, 3.0, 3.0, -2.0]
    ranks = stats.rankdata(np.abs(differences))
    every = [sum(r for r, up in zip(ranks, signs, strict=True) if up) for signs in itertools.product((0, 1), repeat=7)]
    seen = sum(r for r, d in zip(ranks, differences, strict=True) if d > 0)
    middle = sum(ranks) / 2
    expected = np.mean([abs(total - middle) >= abs(seen - middle) - 1e-9 for total in every])
    base = {f"g{i}": [0.0] for i in range(7)} | {"equal": [4.0]}
    other = {f"g{i}": [d] for i, d in enumerate(differences)} | {"equal": [4.0]}
    assert compare_over_games({"base": base, "other": other}, "base")["other"].p_value == pytest.approx(expected)


def test_games_are_paired_by_name() -> None:
    tables = variants()
    tables["better"] = dict(reversed(tables["better"].items()))
    assert (
        compare_over_games(tables, "base")["better"].p_value == compare_over_games(variants(), "base")["better"].p_value
    )


@pytest.mark.parametrize(
    ("scores", "test", "p_value", "note"),
    [
        ({"a": [1.0], "b": [2.0]}, "wilcoxon", 1.0, "no game differs"),
        ({"a": [2.0], "b": [3.0]}, "t", None, "all games differ by the same amount"),
    ],
)
def test_comparison_over_games_can_be_inconclusive(
    scores: dict[str, list[float]], test: str, p_value: float, note: str
) -> None:
    tables = {"base": {"a": [1.0], "b": [2.0]}, "other": scores}
    found = compare_over_games(tables, "base", test=test)["other"]  # type: ignore[arg-type]
    assert (found.p_value, found.adjusted) == (p_value, p_value)
    assert note in found.note
    one = compare_over_games({"base": {"a": [1.0]}, "other": {"a": [2.0]}}, "base")["other"]
    assert (one.p_value, one.number, one.note[:8]) == (None, 1, "one game")


@pytest.mark.parametrize("correction", ["holm", "fdr"])
def test_game_by_game_equals_scipy(correction: str) -> None:
    ours, theirs = variants()["better"], variants()["base"]
    ours["no spread"] = theirs["no spread"] = [1.0, 1.0]
    ours["rounding"], theirs["rounding"] = [0.1 + 0.2, 0.3], [0.3, 0.3]
    ours["one run"], theirs["one run"] = [1.0], [1.0, 2.0]
    found = compare_games(ours, theirs, correction=correction)  # type: ignore[arg-type]
    told = [game for game in ours if game.startswith("g")]
    raw = [float(stats.ttest_ind(ours[game], theirs[game], equal_var=False).pvalue) for game in told]
    both = holm(raw) if correction == "holm" else stats.false_discovery_control(raw)
    assert [found[game].p_value for game in told] == pytest.approx(raw)
    assert [found[game].adjusted for game in told] == pytest.approx(list(both))
    assert found["no spread"].p_value is None
    assert "no variation" in found["no spread"].note
    assert "no variation" in found["rounding"].note
    assert found["one run"].p_value is None
    assert "one run" in found["one run"].note


def test_invalid_inputs_are_errors() -> None:
    with pytest.raises(ValueError, match=r"only one of the two has b, c;"):
        compare_games({"a": [1.0], "b": [1.0]}, {"a": [1.0], "c": [1.0]})
    with pytest.raises(ValueError, match="a: nan is not finite"):
        compare_games({"a": [1.0, np.nan]}, {"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match="only one of the two has b"):
        probability_of_improvement({"a": [1.0], "b": [1.0]}, {"a": [1.0]})
    with pytest.raises(ValueError, match="baseline: 'x' is unknown; expected one of a"):
        compare_over_games({"a": {"g": [1.0]}}, "x")
    with pytest.raises(ValueError, match="correction: 'bonferroni' is unknown; expected one of holm, fdr"):
        compare_games({"a": [1.0]}, {"a": [1.0]}, correction="bonferroni")  # type: ignore[arg-type]
