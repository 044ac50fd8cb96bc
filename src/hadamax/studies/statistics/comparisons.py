"""Is one variant better than another? Probability of improvement, paired tests, and what many tests do to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from hadamax.studies.statistics.aggregates import AGGREGATES
from hadamax.studies.statistics.bootstrap import (
    CONFIDENCE,
    REPLICATES,
    Interval,
    check_options,
    hopeless,
    percentiles,
    untold,
)
from hadamax.studies.statistics.runs import CHUNK, Array, Runs, Scores, resamples

SIGNIFICANT = 0.05
Correction = Literal["holm", "fdr"]


class Comparison(NamedTuple):
    """A test of a variant against a baseline; `p_value` is None where the test cannot tell, and `note` says why."""

    difference: float  # of the means, variant less baseline
    number: int  # pairs of games, or runs of both
    p_value: float | None
    adjusted: float | None  # the p-value with all comparisons made together in mind
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
    """By how much each aggregate of a variant is above the baseline's: stratified bootstrap over the seeds of both.

    Two intervals that overlap may still differ; this one says whether they do.

    Raises:
        ValueError: the games differ, or the scores cannot be compared.
    """
    check_options(replicates, confidence)
    _same_games(scores, baseline)
    both = Runs.of(scores), Runs.of({game: baseline[game] for game in scores})
    ours, theirs = (np.array([float(function(runs)) for function in aggregates.values()]) for runs in both)
    note = untold(both, False)
    if hopeless(both, False):
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
    """P(a run of the variant beats a run of the baseline), ties half, mean over games (Agarwal et al. 2021, 4.3).

    The interval is of the stratified bootstrap over seeds, the two drawn independently.

    Raises:
        ValueError: the games differ, or the scores cannot be compared.
    """
    check_options(replicates, confidence)
    _same_games(scores, baseline)
    ours, theirs = Runs.of(scores), Runs.of({game: baseline[game] for game in scores})
    estimate, note = float(_improvement(ours, theirs)), untold([ours, theirs], False)
    if hopeless([ours, theirs], False):
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
    """Padding, NaN, is neither above nor equal."""
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
    """Each other variant against `baseline`: a two-sided paired test over games of their means over seeds.

    Args:
        variants: {variant: {game: [normalised score of each run]}}.
        test: Wilcoxon's signed ranks, or Student's t on the differences (which VideoPinball alone can drown).

    Raises:
        ValueError: no such baseline, or the games of two variants differ.
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
        return Comparison(mean, number, None, None, "one game: a difference over games cannot be told")
    if test == "t":
        if _alike(differences):
            return Comparison(mean, number, None, None, "every game differs by as much: a t-test does not apply")
        return Comparison(mean, number, float(stats.ttest_1samp(differences, 0.0).pvalue), None)
    unequal = int(np.count_nonzero(differences))
    if not unequal:
        return Comparison(mean, number, 1.0, None, "no game differs")
    least = 2.0 ** (1 - unequal)  # every difference of one sign
    note = f"{unequal} games that differ: p cannot fall below {least:.3g}" if least > SIGNIFICANT else ""
    return Comparison(mean, number, float(stats.wilcoxon(differences[differences != 0]).pvalue), None, note)


def compare_games(scores: Scores, baseline: Scores, *, correction: Correction = "holm") -> dict[str, Comparison]:
    """Game by game: Welch's t-test over runs, corrected for the number of games.

    Raises:
        ValueError: the games differ, or a score is not a finite number.
    """
    _same_games(scores, baseline)
    Runs.of(scores), Runs.of(baseline)  # for what they refuse
    found = {}
    for game in scores:
        ours, theirs = np.asarray(scores[game], np.float64), np.asarray(baseline[game], np.float64)
        difference, number = float(ours.mean() - theirs.mean()), ours.size + theirs.size
        note, p_value = "", None
        if min(ours.size, theirs.size) < 2:
            note = "one run: a difference over seeds cannot be told"
        elif _alike(ours) and _alike(theirs):
            note = "no spread over seeds: a t-test does not apply"
        else:
            p_value = float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
        found[game] = Comparison(difference, number, p_value, None, note)
    return _adjusted(found, correction)


def _alike(values: Array) -> bool:
    """Whether values are equal but for rounding, which a t-test would take for their spread."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def holm(p_values: ArrayLike) -> Array:
    """P-values adjusted so that the chance of any false finding among them stays that of one (Holm 1979).

    Sorted, the i-th smallest of m (from 0) is multiplied by m - i; none is then below a smaller one's, or above 1.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


def _adjusted(found: dict[str, Comparison], correction: Correction) -> dict[str, Comparison]:
    """`fdr` bounds the share of false findings instead (Benjamini and Hochberg 1995)."""
    if correction not in ("holm", "fdr"):
        raise ValueError(f"correction: {correction!r} is unknown; expected one of holm, fdr")
    told = [name for name, comparison in found.items() if comparison.p_value is not None]
    p_values = [found[name].p_value for name in told]
    adjusted: Sequence[float] = []
    if p_values:
        adjusted = (holm(p_values) if correction == "holm" else stats.false_discovery_control(p_values)).tolist()  # type: ignore[arg-type]
    return {**found, **{name: found[name]._replace(adjusted=p) for name, p in zip(told, adjusted, strict=True)}}


def _same_games(scores: Scores, baseline: Scores) -> None:
    different = sorted(set(scores) ^ set(baseline))
    if different:
        raise ValueError(f"games: only one of the two has {', '.join(different)}; leave out what they do not share")
