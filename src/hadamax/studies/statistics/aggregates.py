"""Aggregates over games: median, interquartile mean, mean, optimality gap (Agarwal et al. 2021, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hadamax.studies.statistics.runs import Array, Runs, Scores

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
