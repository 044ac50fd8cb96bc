"""Curves with confidence bands: performance profiles and sample efficiency (Agarwal et al. 2021, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hadamax.studies.statistics.bootstrap import (
    CONFIDENCE,
    check_options,
    interval_note,
    iqm,
    is_degenerate,
    percentiles,
)
from hadamax.studies.statistics.runs import Array, Runs, Scores, resamples

REPLICATES = 2000  # as rliable's default for curves
Curve = tuple[ArrayLike, ArrayLike]  # frames and scores of one run, [points] each


class Band(NamedTuple):
    """A curve [points] with its interval; `low` and `high` are None if there is none, and `note` says why."""

    x: Array
    estimate: Array
    low: Array | None
    high: Array | None
    note: str = ""


def performance_profile(
    scores: Scores,
    thresholds: ArrayLike,
    *,
    replicates: int = REPLICATES,
    confidence: float = CONFIDENCE,
    resample_games: bool = False,
    seed: int = 0,
) -> Band:
    """Compute the fraction of runs with a score above each threshold (run-score distribution), games equally weighted.

    Raises:
        ValueError: the scores are invalid, or an option is out of range.
    """
    taus, runs = np.asarray(thresholds, np.float64), Runs.of(scores)

    def above(tau: float) -> Callable[[Runs], Array]:
        return lambda drawn: drawn.game_means((drawn.values > tau).astype(np.float64)).mean(-1)

    points = [(runs, above(tau)) for tau in taus.tolist()]
    return _band(taus, points, replicates, confidence, resample_games, seed)


def step_values(frames: ArrayLike, scores: ArrayLike, at: ArrayLike) -> Array:
    """Return the last score logged at or before each frame of `at`; NaN before the first and after the last frame.

    There is no interpolation, since it would use a later point.

    Raises:
        ValueError: the frames are not increasing, or the number of scores differs.
    """
    x, y, wanted = (np.asarray(array, np.float64) for array in (frames, scores, at))
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"curve: frames {x.shape} and scores {y.shape} must be two arrays of the same length")
    if (np.diff(x) <= 0).any():
        raise ValueError("curve: the frames must be increasing")
    if not x.size:
        return np.full(wanted.shape, np.nan)
    index = np.searchsorted(x, wanted, side="right") - 1
    return np.where((index >= 0) & (wanted <= x[-1]), y[index.clip(min=0)], np.nan)


def common_frames(curves: Mapping[str, Sequence[Curve]], points: int = 100) -> Array:
    """Return up to `points` frames at which all runs can be compared.

    If every run was measured at the same few frames, return those; otherwise evenly spaced frames from the latest start
    to the earliest end of the runs.

    Raises:
        ValueError: the runs have no frame in common.
    """
    ends = [(np.asarray(x, np.float64)[[0, -1]] if np.size(x) else None) for rows in curves.values() for x, _ in rows]
    if not ends or any(end is None for end in ends):
        raise ValueError("curves: a run without a logged score has no frame in common with the others")
    start, stop = max(float(e[0]) for e in ends if e is not None), min(float(e[1]) for e in ends if e is not None)
    if start > stop:
        raise ValueError(f"curves: one run starts at frame {start:.0f}, another ends at {stop:.0f}: no frame in common")
    measured = [np.asarray(x, np.float64) for rows in curves.values() for x, _ in rows]
    if all(np.array_equal(x, measured[0]) for x in measured) and len(measured[0]) <= points:
        return measured[0]
    return np.linspace(start, stop, points)


def sample_efficiency(
    curves: Mapping[str, Sequence[Curve]],
    frames: ArrayLike,
    function: Callable[[Runs], Array] = iqm,
    *,
    replicates: int = REPLICATES,
    confidence: float = CONFIDENCE,
    resample_games: bool = False,
    seed: int = 0,
) -> Band:
    """Compute an aggregate at each frame. Whole runs are resampled, so the points of the band are dependent.

    Args:
        curves: {game: [(frames, normalised scores) of each run]}.
        frames: frames at which to aggregate; see `common_frames`.

    Raises:
        ValueError: a run has no score at one of the frames.
    """
    at = np.asarray(frames, np.float64)
    on_grid = {game: [step_values(x, y, at) for x, y in rows] for game, rows in curves.items()}
    points = [
        (Runs.of({game: [row[i] for row in rows] for game, rows in on_grid.items()}), function) for i in range(at.size)
    ]
    return _band(at, points, replicates, confidence, resample_games, seed)


def _band(
    x: Array,
    points: Sequence[tuple[Runs, Callable[[Runs], Array]]],
    replicates: int,
    confidence: float,
    resample_games: bool,
    seed: int,
) -> Band:
    """Compute the band of points whose runs have the same shape and are resampled in the same way."""
    check_options(replicates, confidence)
    if not points:
        raise ValueError("points: empty; expected one or more")
    estimate = np.array([float(function(runs)) for runs, function in points])
    shape, note = points[0][0], interval_note([points[0][0]], resample_games)
    if is_degenerate([shape], resample_games):
        return Band(x, estimate, None, None, note)

    def draws() -> Iterator[Array]:
        for positions, counts in resamples(shape, replicates, np.random.default_rng(seed), games=resample_games):
            yield np.stack([function(Runs(runs.values.ravel()[positions], counts)) for runs, function in points])

    return Band(x, estimate, *percentiles(draws(), confidence), note)
