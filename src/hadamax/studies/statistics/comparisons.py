"""Comparisons of variants: intervals of differences, probability of improvement, paired tests, corrections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from hadamax.studies.statistics.bootstrap import (
    AGGREGATES,
    CONFIDENCE,
    REPLICATES,
    Interval,
    check_options,
    interval_note,
    is_degenerate,
    percentiles,
)
from hadamax.studies.statistics.runs import CHUNK, Array, Runs, Scores, resamples

SIGNIFICANT = 0.05
Correction = Literal["holm", "fdr"]


class Comparison(NamedTuple):
    """Test of a variant against a baseline; `p_value` is None if the test does not apply, and `note` says why."""

    difference: float  # of the means, variant minus baseline
    number: int  # pairs of games, or runs of both
    p_value: float | None
    adjusted: float | None  # p-value corrected for all comparisons made together
    note: str = ""


def difference_intervals(
    scores: Scores,
    baseline: Scores,
    aggregates: Mapping[str, Callable[[Runs], Array]] = AGGREGATES,
    *,
    replicates: int = REPLICATES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute the difference of each aggregate, variant minus baseline, by a stratified bootstrap over both's seeds.

    Two overlapping intervals may still differ significantly; the interval of the difference shows it.

    Raises:
        ValueError: the games differ, or the scores are invalid.
    """
    check_options(replicates, confidence)
    _same_games(scores, baseline)
    both = Runs.of(scores), Runs.of({game: baseline[game] for game in scores})
    ours, theirs = (np.array([float(function(runs)) for function in aggregates.values()]) for runs in both)
    note = interval_note(both, False)
    if is_degenerate(both, False):
        return {name: Interval(float(e), None, None, note) for name, e in zip(aggregates, ours - theirs, strict=True)}

    def draws(runs: Runs, generator: np.random.Generator) -> Array:
        values = runs.values.ravel()
        drawn = (Runs(values[positions], counts) for positions, counts in resamples(runs, replicates, generator))
        return np.concatenate([np.stack([function(one) for function in aggregates.values()]) for one in drawn], -1)

    mine, other = map(draws, both, np.random.default_rng(seed).spawn(2))
    low, high = percentiles([mine - other], confidence)
    rows = zip(aggregates, (ours - theirs).tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(difference, below, above, note) for name, difference, below, above in rows}


def probability_of_improvement(
    scores: Scores, baseline: Scores, *, replicates: int = 2000, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Compute P(a run of the variant beats one of the baseline), mean over games (Agarwal et al. 2021, section 4.3).

    Ties count one half. The interval is from a stratified bootstrap over seeds, independently for both.

    Raises:
        ValueError: the games differ, or the scores are invalid.
    """
    check_options(replicates, confidence)
    _same_games(scores, baseline)
    ours, theirs = Runs.of(scores), Runs.of({game: baseline[game] for game in scores})
    estimate, note = float(_improvement(ours, theirs)), interval_note([ours, theirs], False)
    if is_degenerate([ours, theirs], False):
        return Interval(estimate, None, None, note)

    def draws() -> Iterator[Array]:
        at_once = max(CHUNK // (ours.values.size * theirs.values.shape[-1]), 1)
        pieces = [
            resamples(runs, replicates, generator, at_once=at_once)
            for runs, generator in zip((ours, theirs), np.random.default_rng(seed).spawn(2), strict=True)
        ]
        for (mine, counts), (other, other_counts) in zip(*pieces, strict=True):
            drawn = Runs(ours.values.ravel()[mine], counts), Runs(theirs.values.ravel()[other], other_counts)
            yield _improvement(*drawn)

    low, high = percentiles(draws(), confidence)
    return Interval(estimate, float(low), float(high), note)


def _improvement(ours: Runs, theirs: Runs) -> Array:
    """Compute the probability, [...]; padding (NaN) compares as neither above nor equal."""
    x, y = ours.values[..., :, None], theirs.values[..., None, :]
    won = (x > y).sum((-2, -1)) + 0.5 * (x == y).sum((-2, -1))  # [..., game]
    return np.asarray((won / (ours.per_game * theirs.per_game)).mean(-1))


def compare_over_games(
    variants: Mapping[str, Scores],
    baseline: str,
    *,
    test: Literal["wilcoxon", "t"] = "wilcoxon",
    correction: Correction = "holm",
) -> dict[str, Comparison]:
    """Test each other variant against `baseline`: two-sided and paired over games, on means over seeds.

    Args:
        variants: {variant: {game: [normalised score of each run]}}.
        test: Wilcoxon's signed-rank test, or Student's t-test of the differences, which one outlier game can dominate.

    Raises:
        ValueError: the baseline is unknown, or the games of two variants differ.
    """
    if baseline not in variants:
        raise ValueError(f"baseline: {baseline!r} is unknown; expected one of {', '.join(variants)}")
    found = {}
    for name, scores in variants.items():
        if name == baseline:
            continue
        _same_games(scores, variants[baseline])
        theirs = Runs.of({game: variants[baseline][game] for game in scores}).game_means()
        found[name] = _paired(Runs.of(scores).game_means() - theirs, test)
    return _adjusted(found, correction)


def _paired(differences: Array, test: str) -> Comparison:
    number, mean = differences.size, float(differences.mean())
    if number == 1:
        return Comparison(mean, number, None, None, "one game: no test over games is possible")
    if test == "t":
        if _alike(differences):
            return Comparison(mean, number, None, None, "all games differ by the same amount: a t-test does not apply")
        return Comparison(mean, number, float(stats.ttest_1samp(differences, 0.0).pvalue), None)
    unequal = int(np.count_nonzero(differences))
    if not unequal:
        return Comparison(mean, number, 1.0, None, "no game differs")
    least = 2.0 ** (1 - unequal)  # every difference of one sign
    note = f"{unequal} games differ: p cannot be below {least:.3g}" if least > SIGNIFICANT else ""
    return Comparison(mean, number, float(stats.wilcoxon(differences[differences != 0]).pvalue), None, note)


def compare_games(scores: Scores, baseline: Scores, *, correction: Correction = "holm") -> dict[str, Comparison]:
    """Test game by game: Welch's t-test over runs, corrected for the number of games.

    Raises:
        ValueError: the games differ, or a score is not finite.
    """
    _same_games(scores, baseline)
    Runs.of(scores), Runs.of(baseline)  # for their validation
    found = {}
    for game in scores:
        ours, theirs = np.asarray(scores[game], np.float64), np.asarray(baseline[game], np.float64)
        difference, number = float(ours.mean() - theirs.mean()), ours.size + theirs.size
        note, p_value = "", None
        if min(ours.size, theirs.size) < 2:
            note = "one run: no test over seeds is possible"
        elif _alike(ours) and _alike(theirs):
            note = "no variation over seeds: a t-test does not apply"
        else:
            p_value = float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
        found[game] = Comparison(difference, number, p_value, None, note)
    return _adjusted(found, correction)


def _alike(values: Array) -> bool:
    """Return True if values are equal up to rounding errors, which a t-test would treat as variation."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def holm(p_values: ArrayLike) -> Array:
    """Adjust p-values to control the family-wise error rate (Holm 1979).

    The i-th smallest of m p-values (from i = 0) is multiplied by m - i, then made monotone and clipped to 1.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


def _adjusted(found: dict[str, Comparison], correction: Correction) -> dict[str, Comparison]:
    """Add adjusted p-values: by `holm`, or by `fdr` (false discovery rate, Benjamini and Hochberg 1995)."""
    if correction not in ("holm", "fdr"):
        raise ValueError(f"correction: {correction!r} is unknown; expected one of holm, fdr")
    tested = [name for name, comparison in found.items() if comparison.p_value is not None]
    p_values = [found[name].p_value for name in tested]
    adjusted: Sequence[float] = []
    if p_values:
        adjusted = (holm(p_values) if correction == "holm" else stats.false_discovery_control(p_values)).tolist()  # type: ignore[arg-type]
    return {**found, **{name: found[name]._replace(adjusted=p) for name, p in zip(tested, adjusted, strict=True)}}


def _same_games(scores: Scores, baseline: Scores) -> None:
    different = sorted(set(scores) ^ set(baseline))
    if different:
        raise ValueError(f"games: only one of the two has {', '.join(different)}; expected the same games")
