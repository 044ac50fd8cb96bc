"""Every number of a report, from the evidence; see docs/statistics.md for what each means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hadamax.studies.collect import Run
from hadamax.studies.report.evidence import Evidence, Scale
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
from hadamax.studies.statistics.aggregates import iqm, median
from hadamax.studies.statistics.bootstrap import CONFIDENCE, REPLICATES
from hadamax.studies.statistics.runs import Runs

POINTS = 50  # of a curve
COMPARED = {"iqm": iqm, "median": median}
CURVE_REPLICATES = 1_000  # of each of its points
PROFILE_POINTS = 101
PROFILE_END = 0.975  # quantile of all scores at which a profile's axis ends: a few games go far beyond
Points = dict[str, dict[str, list[tuple[Array, Array]]]]  # {variant: {game: [(x, scores) of each run]}}
Bands = dict[str, Band]  # by variant


class Estimate(NamedTuple):
    """The 57-game median estimated from a subset of games, its error being the source's."""

    subset: str
    medians: dict[str, float]  # by variant
    relative_error: float


@dataclass(frozen=True)
class Analysis:
    """What is told of the evidence; what cannot be told is empty, and a note says why."""

    intervals: dict[str, dict[str, dict[str, Interval]]]  # scale, variant, aggregate
    differences: dict[str, dict[str, Interval]]  # variant, aggregate; less the baseline, on the first scale
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
    """Compute everything; the resampling is seeded, so that the same runs give the same report."""
    others, notes = evidence.variants[1:], []
    if not evidence.scales:
        notes.append("There is no scale on which games can be put together: see the games one by one.")
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
    confidence = 1 - (1 - CONFIDENCE) / max(len(others), 1)  # Bonferroni: together they hold with 95%
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
    """On raw scores; the correction is for all games of a variant."""
    base = evidence.raw[evidence.baseline]
    found = {}
    for name in evidence.variants[1:]:
        shared = [game for game in evidence.raw[name] if game in base]
        rows = {game: evidence.raw[name][game] for game in shared}
        found[name] = compare_games(rows, {game: base[game] for game in shared}) if shared else {}
    return found


def _profiles(scale: Scale) -> Bands:
    every = np.concatenate([np.ravel(row) for scores in scale.scores.values() for row in scores.values()])
    end = float(np.quantile(every, PROFILE_END))
    start = min(0.0, float(every.min()))
    thresholds = np.linspace(start, end if end > start else start + 1, PROFILE_POINTS)
    return {
        variant: performance_profile(scores, thresholds, replicates=CURVE_REPLICATES)
        for variant, scores in scale.scores.items()
    }


def _efficiency(evidence: Evidence, scale: Scale, notes: list[str]) -> tuple[Bands, Bands]:
    """The interquartile mean along frames, at frames that all runs have, and along each variant's own hours."""
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


def normalised_curves(evidence: Evidence, scale: Scale, *, hours: bool = False) -> Points:
    """The curves of the runs that count, in the games of a scale, along frames or hours trained."""
    found: Points = {variant: {} for variant in evidence.variants}
    for run in evidence.counted:
        if run.game in scale.limits:
            x, scores = run.curves[evidence.curve_source]
            scaled = scale.scaled(scores, run.game)
            row = (_hours(run, x), scaled) if hours else (x, scaled)
            found[run.variant].setdefault(run.game, []).append(row)
    return found


def _hours(run: Run, frames: Array) -> Array:
    """Hours trained when each of `frames` was logged; they are among the frames of the clock."""
    logged, seconds = run.clock
    return np.interp(frames, logged, seconds) / 3600 if logged.size else np.zeros(0)


def series(
    evidence: Evidence, of_run: Callable[[Run], tuple[Array, Array]], games: Sequence[str]
) -> dict[str, dict[str, list[tuple[Array, Array]]]]:
    """{variant: {game: [points of each run]}} of anything that runs measure along frames; runs without are left out."""
    found: Points = {}
    for run in evidence.counted:
        x, values = of_run(run)
        if run.game in games and x.size:
            found.setdefault(run.variant, {}).setdefault(run.game, []).append((x, values))
    return found


def _estimates(evidence: Evidence) -> list[Estimate]:
    """Of each subset whose games all variants have played; the scores are means over seeds."""
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
