"""Scores of games x runs as one array, and its bootstrap resamples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Scores = Mapping[str, ArrayLike]  # {game: [score of each run]}

CHUNK = 2_000_000  # numbers resampled at a time: about 16 MB per array


@dataclass(frozen=True)
class Runs:
    """Scores [..., game, run], float64, padded with NaN for games with fewer runs, and the runs per game.

    `counts` [..., game] is None if every game has the same number of runs: then there is no padding.
    """

    values: Array
    counts: Array | None

    @classmethod
    def of(cls, scores: Scores) -> Runs:
        """Build the array from {game: [score of each run]}.

        Raises:
            ValueError: there is no game, a game has no run, or a score is not finite.
        """
        if not scores:
            raise ValueError("scores: there are no games")
        rows = {game: np.asarray(values, np.float64) for game, values in scores.items()}
        for game, row in rows.items():
            if row.ndim != 1 or not row.size:
                raise ValueError(f"scores: {game}: expected one score per run, got an array of shape {row.shape}")
            if not np.isfinite(row).all():
                raise ValueError(f"scores: {game}: {row[~np.isfinite(row)][0]} is not finite")
        counts = np.array([row.size for row in rows.values()])
        values = np.full((len(rows), counts.max()), np.nan)
        for i, row in enumerate(rows.values()):
            values[i, : row.size] = row
        return cls(values, None if (counts == counts[0]).all() else counts)

    @property
    def per_game(self) -> Array:
        """Number of runs per game, [..., game]."""
        shape = self.values.shape
        return np.full(shape[:-1], shape[-1]) if self.counts is None else self.counts

    def game_means(self, values: Array | None = None) -> Array:
        """Compute the mean over runs per game, [..., game]; of `values`, with the same padding, if given."""
        values = self.values if values is None else values
        if self.counts is None:
            return np.asarray(values.mean(-1))
        return np.asarray(np.nansum(values, -1) / self.counts)


def resamples(
    runs: Runs, replicates: int, generator: np.random.Generator, *, games: bool = False, at_once: int | None = None
) -> Iterator[tuple[Array, Array | None]]:
    """Draw stratified bootstrap resamples: each game's runs are drawn with replacement, as many as it has.

    Args:
        games: draw the games first. A game drawn twice gets two independent draws of runs.
        at_once: replicates per chunk; by default as many as fit `CHUNK`.

    Yields:
        Positions [replicate, game, run] in `runs.values.ravel()` and counts [replicate, game] or None, in chunks of
        replicates.
    """
    num_games, most = runs.values.shape
    per_game = runs.per_game
    at_once = at_once or max(CHUNK // runs.values.size, 1)
    for start in range(0, replicates, at_once):
        size = min(at_once, replicates - start)
        drawn = np.broadcast_to(np.arange(num_games), (size, num_games))
        if games:
            drawn = generator.integers(0, num_games, (size, num_games))
        first = drawn[..., None] * most
        if runs.counts is None:
            small = np.uint8 if most <= 256 else np.int64  # drawing bytes is faster
            yield first + generator.integers(0, most, (size, num_games, most), dtype=small), None
            continue
        counts = per_game[drawn]
        slots = np.arange(most)
        positions = generator.integers(0, counts[..., None], (size, num_games, most))
        yield first + np.where(slots < counts[..., None], positions, slots), counts  # the others point to padding
