"""Scores of runs as a table, and rules for pooling them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hadamax.errors import UserError, unknown
from hadamax.runs.recorder import WINDOWS
from hadamax.studies.collect import Run
from hadamax.studies.scores import Array, baseline_range

Scale = Callable[[Array, str], Array]  # maps raw scores of a game to a common scale, for example `human_normalised`
SOURCES = {
    "training": f"mean of the last {WINDOWS['training']} training games, exploration included",
    "test": f"mean of the last {WINDOWS['test']} games of the greedy test environments",
    "evaluation": "mean of the games played after training (hadamax evaluate)",
}


class Score(NamedTuple):
    """A raw score with everything that must match before it may be pooled."""

    variant: str
    game: str
    seed: int
    source: str
    score: float
    games: int  # number of games averaged
    frame: int
    frames: int  # total frames of the run's settings
    protocol: str
    run: Path


def score_table(runs: Iterable[Run], source: str, *, unfinished: bool = False) -> tuple[list[Score], list[str]]:
    """Return each run's final score of one source, and a line for each run without one or not finished.

    Args:
        unfinished: include unfinished runs, and evaluations of any checkpoint.

    Raises:
        UserError: the source is unknown.
    """
    if source not in SOURCES:
        raise unknown("source", source, SOURCES)
    rows, left_out = [], []
    for run in runs:
        frame, protocol, returns = run.frame, run.fingerprint, run.returns.get(source, [])
        if source == "evaluation" and run.evaluation:
            frame, protocol, returns = (run.evaluation[name] for name in ("frame", "protocol", "returns"))
        total = run.settings.run.frames
        if not run.finished and not unfinished:
            left_out.append(f"{run.path}: not finished: {run.frame:,} of {total:,} frames")
        elif frame != run.frame and not unfinished:
            left_out.append(f"{run.path}: evaluated at frame {frame:,}, trained to {run.frame:,}")
        elif not returns:
            left_out.append(f"{run.path}: no score of source {source!r}")
        elif not np.isfinite(returns).all():
            left_out.append(f"{run.path}: a score of source {source!r} is not finite")
        else:
            mean, number = float(np.mean(returns)), len(returns)
            rows.append(Score(run.variant, run.game, run.seed, source, mean, number, frame, total, protocol, run.path))
    return rows, left_out


def raw(scores: Array, game: str) -> Array:
    """Return the raw scores, which are comparable within one game only."""
    return scores


def pool(rows: Iterable[Score], scale: Scale = raw, *, mixed: bool = False) -> dict[str, dict[str, list[float]]]:
    """Group scores as {variant: {game: [score per seed]}}, seeds in order, for `hadamax.studies.statistics`.

    Args:
        mixed: pool rows even if their protocols, sources or training lengths differ.

    Raises:
        UserError: they differ, a seed occurs twice, or the scale does not support a game.
    """
    rows = sorted(rows, key=lambda row: (row.variant, row.game, row.seed))
    for name in ("protocol", "source", "frames"):
        kinds: dict[Any, Score] = {}
        for row in rows:
            kinds.setdefault(getattr(row, name), row)
        if len(kinds) > 1 and not mixed:
            (one, first), (other, second), *_ = kinds.items()
            raise UserError(
                f"{name}: {first.run} has {one}, {second.run} has {other}: their scores cannot be pooled "
                "(to pool them anyway: mixed=True; hadamax report --allow-mixed)"
            )
    pooled: dict[str, dict[str, list[float]]] = {}
    before: Score | None = None
    for row in rows:
        if before and before[:3] == row[:3]:
            raise UserError(f"runs: {before.run} and {row.run} are both {row.variant}, {row.game}, seed {row.seed}")
        before = row
        pooled.setdefault(row.variant, {}).setdefault(row.game, []).append(_scaled(scale, row.score, row.game))
    return pooled


def _scaled(scale: Scale, score: float, game: str) -> float:
    try:
        return float(scale(np.float64(score), game))  # type: ignore[arg-type]
    except (ValueError, KeyError) as error:
        raise UserError(str(error).strip("\"'")) from None


def curves(runs: Iterable[Run], source: str, scale: Scale = raw) -> dict[str, dict[str, list[tuple[Array, Array]]]]:
    """Group curves as {variant: {game: [(frames, scores) per run]}} for `sample_efficiency`; omit empty curves."""
    if source not in WINDOWS:
        raise unknown("source", source, WINDOWS)
    found: dict[str, dict[str, list[tuple[Array, Array]]]] = {}
    for run in sorted(runs, key=lambda run: (run.variant, run.game, run.seed)):
        frames, scores = run.curves[source]
        if frames.size:
            scaled = frames, scale(scores, run.game)
            found.setdefault(run.variant, {}).setdefault(run.game, []).append(scaled)
    return found


def baseline_ranges(runs: Iterable[Run], variant: str, source: str) -> dict[str, tuple[float, float]]:
    """Return {game: (min, max)} over all seeds and logged points of one variant, for HR eq. 8.

    Raises:
        UserError: the variant is unknown, or its score is constant in a game.
    """
    by_variant = curves(runs, source)
    if variant not in by_variant:
        raise unknown("variant", variant, by_variant)
    ranges = {}
    for game, rows in by_variant[variant].items():
        try:
            ranges[game] = baseline_range(scores for _, scores in rows)
        except ValueError as error:
            raise UserError(f"{variant}, {game}: {error}") from None
    return ranges
