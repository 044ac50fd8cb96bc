"""All numbers of a report, computed from the evidence; docs/statistics.md defines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hadamax.studies.collect import Run
from hadamax.studies.report.evidence import Evidence, ScoreScale
from hadamax.studies.scores import Array, estimate_median
from hadamax.studies.statistics import (
    Band,
    Comparison,
    Interval,
    aggregate_intervals,
    common_frames,
    compare_games,
    compare_over_games,
    difference_intervals,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
)
from hadamax.studies.statistics.bootstrap import CONFIDENCE, REPLICATES, iqm, median
from hadamax.studies.statistics.runs import Runs

POINTS = 50  # per curve
COMPARED = {"iqm": iqm, "median": median}
CURVE_REPLICATES = 1_000  # per point
PROFILE_POINTS = 101
PROFILE_END = 0.975  # quantile of all scores at which a profile's axis ends, because of outlier games
Points = dict[str, dict[str, list[tuple[Array, Array]]]]  # {variant: {game: [(x, scores) of each run]}}
Bands = dict[str, Band]  # by variant


class Estimate(NamedTuple):
    """The 57-game median estimated from a subset of games, with the error stated by the source."""

    subset: str
    medians: dict[str, float]  # by variant
    relative_error: float


@dataclass(frozen=True)
class Analysis:
    """Results of the analysis; results that cannot be computed are empty and explained by a note."""

    intervals: dict[str, dict[str, dict[str, Interval]]]  # scale, variant, aggregate
    differences: dict[str, dict[str, Interval]]  # variant, aggregate; minus the baseline, on the first scale
    difference_confidence: float
    improvement: dict[str, Interval]
    tests: dict[str, Comparison]
    game_tests: dict[str, dict[str, Comparison]]  # variant, game
    profiles: Bands
    by_frames: Bands
    by_hours: Bands
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...]


def analyse(evidence: Evidence, *, replicates: int = REPLICATES) -> Analysis:
    """Compute everything. The resampling is seeded, so the same runs give the same report."""
    others, notes = evidence.variants[1:], []
    if not evidence.scales:
        notes.append("No common scale is available, so games are not aggregated: see the results per game.")
        return Analysis({}, {}, CONFIDENCE, {}, {}, _game_tests(evidence), {}, {}, {}, (), tuple(notes))
    intervals = {
        scale.key: {
            variant: aggregate_intervals(scores, replicates=replicates, seed=number)
            for number, (variant, scores) in enumerate(scale.scores.items())
        }
        for scale in evidence.scales
    }
    scale = evidence.scales[0]
    ours = scale.scores[evidence.baseline]
    confidence = 1 - (1 - CONFIDENCE) / max(len(others), 1)  # Bonferroni: jointly 95%
    differences = {
        name: difference_intervals(scale.scores[name], ours, COMPARED, replicates=replicates, confidence=confidence)
        for name in others
    }
    improvement = {
        name: probability_of_improvement(scale.scores[name], ours, replicates=replicates, confidence=confidence)
        for name in others
    }
    tests = compare_over_games(scale.scores, evidence.baseline) if others else {}
    by_frames, by_hours = _efficiency(evidence, scale, notes)
    return Analysis(
        intervals,
        differences,
        confidence,
        improvement,
        tests,
        _game_tests(evidence),
        _profiles(scale),
        by_frames,
        by_hours,
        tuple(_estimates(evidence)),
        tuple(notes),
    )


def _game_tests(evidence: Evidence) -> dict[str, dict[str, Comparison]]:
    """Test raw scores per game, corrected for all games of a variant."""
    base = evidence.raw[evidence.baseline]
    found = {}
    for name in evidence.variants[1:]:
        shared = [game for game in evidence.raw[name] if game in base]
        rows = {game: evidence.raw[name][game] for game in shared}
        found[name] = compare_games(rows, {game: base[game] for game in shared}) if shared else {}
    return found


def _profiles(scale: ScoreScale) -> Bands:
    every = np.concatenate([np.ravel(row) for scores in scale.scores.values() for row in scores.values()])
    end = float(np.quantile(every, PROFILE_END))
    start = min(0.0, float(every.min()))
    thresholds = np.linspace(start, end if end > start else start + 1, PROFILE_POINTS)
    return {
        variant: performance_profile(scores, thresholds, replicates=CURVE_REPLICATES)
        for variant, scores in scale.scores.items()
    }


def _efficiency(evidence: Evidence, scale: ScoreScale, notes: list[str]) -> tuple[Bands, Bands]:
    """Compute the interquartile mean over frames that all runs have, and over each variant's hours of training."""
    points = normalised_curves(evidence, scale)
    hours = normalised_curves(evidence, scale, hours=True)
    by_frames: Bands = {}
    try:
        together = [row for rows in points.values() for game in rows.values() for row in game]
        frames = common_frames({"all": together}, POINTS)
        by_frames = {
            variant: sample_efficiency(rows, frames, replicates=CURVE_REPLICATES) for variant, rows in points.items()
        }
    except ValueError as error:
        notes.append(f"No curve over frames: {error}.")
    by_hours: Bands = {}
    for variant, rows in hours.items():
        try:
            by_hours[variant] = sample_efficiency(rows, common_frames(rows, POINTS), replicates=CURVE_REPLICATES)
        except ValueError as error:
            notes.append(f"No curve over time for {variant}: {error}.")
    return by_frames, by_hours


def normalised_curves(evidence: Evidence, scale: ScoreScale, *, hours: bool = False) -> Points:
    """Return the included runs' curves in the games of a scale, over frames or hours of training."""
    found: Points = {variant: {} for variant in evidence.variants}
    for run in evidence.counted:
        if run.game in scale.limits:
            x, scores = run.curves[evidence.curve_source]
            scaled = scale.scaled(scores, run.game)
            row = (_hours(run, x), scaled) if hours else (x, scaled)
            found[run.variant].setdefault(run.game, []).append(row)
    return found


def _hours(run: Run, frames: Array) -> Array:
    """Return the hours of training at each of `frames`, which must be frames of the clock."""
    logged, seconds = run.clock
    return np.interp(frames, logged, seconds) / 3600 if logged.size else np.zeros(0)


def series(
    evidence: Evidence, of_run: Callable[[Run], tuple[Array, Array]], games: Sequence[str]
) -> dict[str, dict[str, list[tuple[Array, Array]]]]:
    """Group any measurement over frames as {variant: {game: [points per run]}}; omit runs without it."""
    found: Points = {}
    for run in evidence.counted:
        x, values = of_run(run)
        if run.game in games and x.size:
            found.setdefault(run.variant, {}).setdefault(run.game, []).append((x, values))
    return found


def _estimates(evidence: Evidence) -> list[Estimate]:
    """Estimate the 57-game median from each subset that all variants have played, from means over seeds."""
    human = next((scale for scale in evidence.scales if scale.key == "human"), None)
    found = []
    for subset in ("Atari-10", "Atari-5"):
        if human is None:
            continue
        means = {
            variant: dict(zip(scores, Runs.of(scores).game_means().tolist(), strict=True))
            for variant, scores in human.scores.items()
        }
        try:
            estimates = {variant: estimate_median(scores, subset) for variant, scores in means.items()}
        except ValueError:  # not all of its games were played
            continue
        medians = {variant: estimate.median for variant, estimate in estimates.items()}
        found.append(Estimate(subset, medians, next(iter(estimates.values())).relative_error))
    return found
