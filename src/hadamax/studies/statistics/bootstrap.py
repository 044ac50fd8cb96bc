"""Stratified bootstrap intervals of the aggregates (Agarwal et al. 2021, section 4.1; Efron's percentiles)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hadamax.studies.statistics.aggregates import AGGREGATES
from hadamax.studies.statistics.runs import Array, Runs, Scores, resamples

REPLICATES = 50_000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate, its interval, and what cannot be told from these runs; without an interval, `low` is None."""

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
    """Every aggregate with its percentile interval, all from the same resamples.

    Args:
        scores: {game: [normalised score of each run]}.
        resample_games: draw the games anew as well. Without it the interval is about repeating the study with other
            seeds on these games; with it, about other games of the same kind too.
        seed: of the resampling.

    Raises:
        ValueError: the scores cannot be aggregated, or an option is out of range.
    """
    check_options(replicates, confidence)
    runs = Runs.of(scores)
    values = runs.values.ravel()

    def draws() -> Iterator[Array]:
        for positions, counts in resamples(runs, replicates, np.random.default_rng(seed), games=resample_games):
            drawn = Runs(values[positions], counts)
            yield np.stack([function(drawn) for function in aggregates.values()])

    estimates = np.array([float(function(runs)) for function in aggregates.values()])
    note = untold([runs], resample_games)
    if hopeless([runs], resample_games):
        return {name: Interval(float(e), None, None, note) for name, e in zip(aggregates, estimates, strict=True)}
    low, high = percentiles(draws(), confidence)
    rows = zip(aggregates, estimates.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(estimate, below, above, note) for name, estimate, below, above in rows}


def percentiles(draws: Iterable[Array], confidence: float) -> tuple[Array, Array]:
    """The central interval of draws [..., replicate] that come in pieces: low and high, [...]."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(list(draws), -1), [tail, 1 - tail], axis=-1)
    return low, high


def check_options(replicates: int, confidence: float) -> None:
    if replicates < 1:
        raise ValueError(f"replicates: {replicates} is too small; expected 1 or more")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is out of range; expected between 0 and 1")


def hopeless(tables: Sequence[Runs], resample_games: bool) -> bool:
    """Whether every resample is the same: one run a game, and the games not resampled or one only."""
    fixed = all((runs.per_game == 1).all() for runs in tables)
    return fixed and (not resample_games or tables[0].per_game.size == 1)


def untold(tables: Sequence[Runs], resample_games: bool) -> str:
    """What the interval leaves out, in words; empty where nothing is."""
    counts = np.concatenate([runs.per_game for runs in tables])
    single, number = int((counts == 1).sum()), counts.size
    notes = []
    if single == number:
        notes.append("one run a game: the spread over seeds cannot be told")
    elif single:
        notes.append(f"one run in {single} of {number} games: their spread over seeds is left out")
    if resample_games and all(runs.per_game.size == 1 for runs in tables):
        notes.append("one game: the spread over games cannot be told")
    return "; ".join(notes)
