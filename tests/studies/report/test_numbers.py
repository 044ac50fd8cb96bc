"""The report's numbers against the runs' files, computed with numpy and scipy only."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.studies.report.conftest import GAMES, Made
from tests.studies.report.synthetic import VARIANTS

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[3]
Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    return list(csv.DictReader(path.read_text().splitlines()))


def table(made: Made, name: str) -> list[Row]:
    return rows_of(made.out / "tables" / f"{name}.csv")


def row_of(rows: list[Row], **key: str) -> Row:
    (row,) = (row for row in rows if all(row[k] == v for k, v in key.items()))
    return row


def raw(made: Made, variant: str, game: str) -> np.ndarray:
    """Return the evaluations of the finished runs."""
    files = [made.root / variant / game / f"seed-{seed}" / "evaluation.json" for seed in (1, 2, 3)]
    return np.array([np.mean(json.loads(file.read_text())["agent"]["returns"]) for file in files])


def random_human() -> dict[str, tuple[float, float]]:
    rows = rows_of(ROOT / "src/hadamax/data/random_human.csv")
    return {row["game"]: (float(row["random"]), float(row["human"])) for row in rows}


def human(made: Made, variant: str) -> np.ndarray:
    """[game, seed]"""
    limits = random_human()
    rows = [(raw(made, variant, g) - limits[g][0]) / (limits[g][1] - limits[g][0]) for g in GAMES]
    return np.array(rows)


@pytest.mark.parametrize("variant", VARIANTS)
def test_aggregates(made: Made, variant: str) -> None:
    scores = human(made, variant)
    found = {k: float(v) for k, v in row_of(table(made, "aggregates-human"), variant=variant).items() if k != "variant"}
    assert found["iqm"] == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))
    assert found["median"] == pytest.approx(np.median(scores.mean(1)))
    assert found["mean"] == pytest.approx(scores.mean())
    assert found["optimality_gap"] == pytest.approx(1 - np.minimum(scores, 1).mean())
    assert (found["games"], found["runs"]) == (7, 21)


def slow_bootstrap(scores: np.ndarray, generator: np.random.Generator, replicates: int = 4000) -> np.ndarray:
    """Return IQMs of stratified resamples, computed one at a time."""
    games = np.arange(len(scores))[:, None]
    draws = (scores[games, generator.integers(0, scores.shape[1], scores.shape)] for _ in range(replicates))
    return np.array([stats.trim_mean(drawn, 0.25, axis=None) for drawn in draws])


def test_intervals_equal_a_plain_bootstrap(made: Made) -> None:
    """Of the interquartile mean and of a difference of two, with another generator and a plain loop."""
    generator = np.random.default_rng(12345)
    draws = {variant: slow_bootstrap(human(made, variant), generator) for variant in VARIANTS}
    for variant in VARIANTS:
        row = row_of(table(made, "aggregates-human"), variant=variant)
        low, high = np.quantile(draws[variant], [0.025, 0.975])
        near = 0.05 * (high - low)
        assert float(row["iqm_low"]) == pytest.approx(low, abs=near)
        assert float(row["iqm_high"]) == pytest.approx(high, abs=near)
    low, high = np.quantile(draws["hadamax"] - draws["nature-norm"], [0.025, 0.975])
    row = row_of(table(made, "comparisons"), variant="hadamax")
    assert float(row["iqm_difference_low"]) == pytest.approx(low, abs=0.05 * (high - low))
    assert float(row["iqm_difference_high"]) == pytest.approx(high, abs=0.05 * (high - low))


def test_improvement_and_tests(made: Made) -> None:
    ours, theirs = human(made, "hadamax"), human(made, "nature-norm")
    row = row_of(table(made, "comparisons"), variant="hadamax")
    chance = np.mean([stats.mannwhitneyu(x, y).statistic / 9 for x, y in zip(ours, theirs, strict=True)])
    assert float(row["probability_of_improvement"]) == pytest.approx(chance)
    p_value = stats.wilcoxon(ours.mean(1), theirs.mean(1)).pvalue
    assert float(row["wilcoxon_p"]) == pytest.approx(p_value)
    games = {row["game"]: row for row in table(made, "games")}
    p_values = [stats.ttest_ind(x, y, equal_var=False).pvalue for x, y in zip(ours, theirs, strict=True)]
    smallest = int(np.argmin(p_values))
    assert float(games[GAMES[smallest]]["hadamax_p_holm"]) == pytest.approx(min(1, 7 * p_values[smallest]))


def test_games(made: Made) -> None:
    for game, variant in itertools.product(GAMES, VARIANTS):
        scores = raw(made, variant, game)
        row = row_of(table(made, "games"), game=game)
        low, high = stats.t.interval(0.95, 2, scores.mean(), stats.sem(scores))
        found = [float(row[f"{variant}{end}"]) for end in ("", "_low", "_high")]
        assert found == pytest.approx([scores.mean(), low, high])


def test_baseline_normalised_scores(made: Made) -> None:
    """HR eq. 8 on the logged returns of the baseline's greedy test games."""
    scores = []
    for game in GAMES:
        logged = [
            float(row["test_return"])
            for seed in (1, 2, 3)
            for row in rows_of(made.root / "nature-norm" / game / f"seed-{seed}" / "metrics.csv")
        ]
        scores.append((raw(made, "hadamax", game) - min(logged)) / (max(logged) - min(logged)))
    row = row_of(table(made, "aggregates-baseline"), variant="hadamax")
    assert float(row["mean"]) == pytest.approx(np.mean(scores))


def last_rank(made: Made, variant: str, game: str, seed: int) -> int:
    rows = rows_of(made.root / variant / game / f"seed-{seed}" / "diagnostics.csv")
    kept = [r for r in rows if (r["layer"], r["part"], r["observations"]) == ("encoder.dense.0", "output", "fixed")]
    return int(kept[-1]["effective_rank"])


def test_rank_and_score(made: Made) -> None:
    within: dict[str, list[float]] = {"game": [], "game and variant": []}
    for game in GAMES:
        ranks = {v: [last_rank(made, v, game, seed) for seed in (1, 2, 3)] for v in VARIANTS}
        scores = {v: raw(made, v, game).tolist() for v in VARIANTS}
        within["game"].append(stats.spearmanr(np.ravel([*ranks.values()]), np.ravel([*scores.values()])).statistic)
        within["game and variant"] += [stats.spearmanr(ranks[v], scores[v]).statistic for v in VARIANTS]
    for key, values in within.items():
        row = row_of(table(made, "predictions"), measure="effective rank of the last hidden layer", compared_within=key)
        assert float(row["spearman"]) == pytest.approx(np.nanmean(values))
        assert int(row["groups"]) == np.isfinite(values).sum()


def test_cost_and_curves(made: Made) -> None:
    row = row_of(table(made, "cost"), variant="hadamax")
    assert float(row["frames_per_second"]) == pytest.approx(5000, rel=1e-3)
    assert float(row["hours_a_run"]) == pytest.approx(40e6 / 5000 / 3600, rel=1e-3)
    last = [row for row in table(made, "sample-efficiency") if row["variant"] == "hadamax"][-1]
    assert float(last["low"]) <= float(last["estimate"]) <= float(last["high"])
    assert float(last["x"]) == 40_000_000
    limits = random_human()
    ends = []
    for game, seed in itertools.product(GAMES, (1, 2, 3)):
        rows = rows_of(made.root / "hadamax" / game / f"seed-{seed}" / "metrics.csv")
        ends.append((float(rows[-1]["test_return"]) - limits[game][0]) / (limits[game][1] - limits[game][0]))
    assert float(last["estimate"]) == pytest.approx(stats.trim_mean(ends, 0.25))


def test_published_medians_over_our_games(made: Made) -> None:
    limits = random_human()
    rows = rows_of(ROOT / "src/hadamax/data/published_scores.csv")
    scores = {row["game"]: float(row["score"]) for row in rows if row["algo"] == "c51"}
    normalised = [(scores[g] - limits[g][0]) / (limits[g][1] - limits[g][0]) for g in GAMES]
    row = row_of(table(made, "published"), agent="c51")
    assert float(row["median"]) == pytest.approx(np.median(normalised))
    assert "200M" in row["frames"]
    assert "no-op" in row["protocol"]
