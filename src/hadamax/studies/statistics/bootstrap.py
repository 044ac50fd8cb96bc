"""Aggregates over games and their stratified bootstrap intervals (Agarwal et al. 2021, sections 4.1 and 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hadamax.studies.statistics.runs import Array, Runs, Scores, resamples

CUT = 0.25  # fraction of the runs that the interquartile mean trims at each end


def mean(runs: Runs) -> Array:
    """Compute the mean over games of each game's mean over runs, [...]."""
    return np.asarray(runs.game_means().mean(-1))


def median(runs: Runs) -> Array:
    """Compute the median over games of each game's mean over runs, [...]."""
    return np.asarray(np.median(runs.game_means(), -1))


def iqm(runs: Runs) -> Array:
    """Compute the mean of the middle half of all runs of all games together, [...].

    A quarter of the runs, rounded down, is trimmed at each end: `scipy.stats.trim_mean(scores, 0.25, axis=None)`. With
    unequal numbers of runs, runs are weighted so that games have equal weight, and a quarter of the weight is trimmed.
    """
    values = runs.values.reshape(*runs.values.shape[:-2], -1)
    if runs.counts is None:
        number = values.shape[-1]
        cut = int(CUT * number)
        return np.asarray(np.sort(values, -1)[..., cut : number - cut].mean(-1))
    weights = 1 / (runs.counts[..., None] * runs.values.shape[-2])
    weights = np.broadcast_to(weights, runs.values.shape).reshape(values.shape)
    order = np.argsort(values, -1)  # padding sorts last, beyond the total weight of 1
    until = np.take_along_axis(weights, order, -1).cumsum(-1)
    kept = np.diff(until.clip(CUT, 1 - CUT), axis=-1, prepend=CUT)
    return np.asarray(np.nansum(np.take_along_axis(values, order, -1) * kept, -1) / (1 - 2 * CUT))


def optimality_gap(runs: Runs, target: float = 1.0) -> Array:
    """Compute the mean shortfall from `target`, with scores above it clipped to it, [...]."""
    return np.asarray(target - runs.game_means(np.minimum(runs.values, target)).mean(-1))


AGGREGATES: dict[str, Callable[[Runs], Array]] = {
    "median": median,
    "iqm": iqm,
    "mean": mean,
    "optimality_gap": optimality_gap,
}


def aggregate(scores: Scores) -> dict[str, float]:
    """Compute every aggregate of normalised scores {game: [score of each run]}.

    Raises:
        ValueError: there is no game, a game has no run, or a score is not finite.
    """
    runs = Runs.of(scores)
    return {name: float(function(runs)) for name, function in AGGREGATES.items()}


REPLICATES = 50_000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate with its interval (None if it cannot be computed) and a note on the interval's limits."""

    estimate: float
    low: float | None
    high: float | None
    note: str = ""


def aggregate_intervals(
    scores: Scores,
    aggregates: Mapping[str, Callable[[Runs], Array]] = AGGREGATES,
    *,
    replicates: int = REPLICATES,
    confidence: float = CONFIDENCE,
    resample_games: bool = False,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute every aggregate with its percentile interval, all from the same resamples.

    Args:
        scores: {game: [normalised score of each run]}.
        resample_games: also resample the games. Without it, the interval covers repeating the study with other seeds on
            these games; with it, also with other games of the same kind.
        seed: seed of the resampling.

    Raises:
        ValueError: the scores are invalid, or an option is out of range.
    """
    check_options(replicates, confidence)
    runs = Runs.of(scores)
    values = runs.values.ravel()

    def draws() -> Iterator[Array]:
        for positions, counts in resamples(runs, replicates, np.random.default_rng(seed), games=resample_games):
            drawn = Runs(values[positions], counts)
            yield np.stack([function(drawn) for function in aggregates.values()])

    estimates = np.array([float(function(runs)) for function in aggregates.values()])
    note = interval_note([runs], resample_games)
    if is_degenerate([runs], resample_games):
        return {name: Interval(float(e), None, None, note) for name, e in zip(aggregates, estimates, strict=True)}
    low, high = percentiles(draws(), confidence)
    rows = zip(aggregates, estimates.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(estimate, below, above, note) for name, estimate, below, above in rows}


def percentiles(draws: Iterable[Array], confidence: float) -> tuple[Array, Array]:
    """Return the central interval, low and high [...], of replicates that come in chunks [..., replicate]."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(list(draws), -1), [tail, 1 - tail], axis=-1)
    return low, high


def check_options(replicates: int, confidence: float) -> None:
    if replicates < 1:
        raise ValueError(f"replicates: {replicates} is too small; expected 1 or more")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is out of range; expected between 0 and 1")


def is_degenerate(tables: Sequence[Runs], resample_games: bool) -> bool:
    """Return True if all resamples are equal: one run per game, and games not resampled or only one."""
    fixed = all((runs.per_game == 1).all() for runs in tables)
    return fixed and (not resample_games or tables[0].per_game.size == 1)


def interval_note(tables: Sequence[Runs], resample_games: bool) -> str:
    """Describe the variation that the interval cannot include; empty if it includes all."""
    counts = np.concatenate([runs.per_game for runs in tables])
    single, number = int((counts == 1).sum()), counts.size
    notes = []
    if single == number:
        notes.append("one run per game: the variation over seeds is unknown")
    elif single:
        notes.append(f"one run in {single} of {number} games: their variation over seeds is not included")
    if resample_games and all(runs.per_game.size == 1 for runs in tables):
        notes.append("one game: the variation over games is unknown")
    return "; ".join(notes)
