"""Normalised scores, and estimates of the 57-game median from a few games. Pure functions of numpy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hadamax.published import atari_subsets, random_human

Array = NDArray[Any]


class MedianEstimate(NamedTuple):
    """Estimate of the median human-normalised score over 57 games; 1.0 is the human score."""

    median: float
    relative_error: float  # stated by the source, over algorithms; does not include seeds


def human_normalised(scores: ArrayLike, game: str) -> Array:
    """Compute (score - random) / (human - random), float64 of the same shape (HR eq. 9; Mnih et al. 2015).

    Raises:
        ValueError: there are no published scores for the game.
    """
    if game not in random_human():
        raise ValueError(f"game: {game!r} has no published random and human score")
    random, human = random_human()[game]
    return (np.asarray(scores, np.float64) - random) / (human - random)


def baseline_range(curves: Iterable[ArrayLike]) -> tuple[float, float]:
    """Return the minimum and maximum of all logged points of all seeds of the baseline in one game.

    Args:
        curves: one array of raw scores [points] per seed. NaN marks a point without a score.

    Raises:
        ValueError: there are no scores, or all scores are equal.
    """
    points = np.concatenate([np.zeros(0), *(np.ravel(np.asarray(curve, np.float64)) for curve in curves)])
    points = points[~np.isnan(points)]
    if not points.size:
        raise ValueError("baseline: there are no scores to normalise by")
    low, high = float(points.min()), float(points.max())
    if not low < high:
        raise ValueError(f"baseline: all scores are {low:g}; normalising needs two different scores")
    return low, high


def baseline_normalised(scores: ArrayLike, baseline: tuple[float, float]) -> Array:
    """Compute (score - min) / (max - min), float64 of the same shape (HR eq. 8); `baseline` is a `baseline_range`."""
    low, high = baseline
    return (np.asarray(scores, np.float64) - low) / (high - low)


def estimate_median(scores: Mapping[str, float], subset: str = "Atari-10") -> MedianEstimate:
    """Estimate the 57-game median from the games of a subset (Aitchison et al. 2022, arXiv 2210.02019).

    With n = 100 x human-normalised score and the subset's weights w, the estimate in percent is
    10^(sum of w log10(1 + max(n, 0))) - 1.

    Args:
        scores: human-normalised score per game, a mean over seeds; games outside the subset are ignored.

    Raises:
        ValueError: the subset is unknown, or one of its games has no score.
    """
    subsets = atari_subsets()
    if subset not in subsets:
        raise ValueError(f"subset: {subset!r} is unknown; expected one of {', '.join(subsets)}")
    weights, error = subsets[subset]
    missing = [game for game in weights if game not in scores or not np.isfinite(scores[game])]
    if missing:
        raise ValueError(f"{subset}: no score of {', '.join(missing)}")
    exponent = sum(w * np.log10(1 + max(100 * float(scores[game]), 0.0)) for game, w in weights.items())
    return MedianEstimate(float(10**exponent - 1) / 100, error)
