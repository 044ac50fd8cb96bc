"""Measures of a panel's curves: scores, dead units, ranks, as {variant: {game: [(frames, values) of each run]}}."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hadamax.errors import UserError
from hadamax.papers.runs import MissingRuns
from hadamax.papers.visits import cycle_values, visit_curves
from hadamax.published import random_human
from hadamax.runs.logs import read_csv
from hadamax.studies.collect import Run
from hadamax.studies.score_table import SOURCES, baseline_ranges, curves
from hadamax.studies.scores import Array, baseline_normalised, human_normalised
from hadamax.studies.statistics.bootstrap import mean, median
from hadamax.studies.statistics.runs import Runs

Curves = dict[str, dict[str, list[tuple[Array, Array]]]]
FRESH = "fresh"  # the learner's recent observations, as in HR's minibatches
LAST = -1
SCORES = ("score", "human score", "last visit", "gain")  # final values that are scores


class Drawn(NamedTuple):
    """Curves with their axis label, aggregate over games, and the choices that the paper leaves open."""

    curves: Curves
    label: str
    function: Callable[[Runs], Array]
    choices: tuple[str, ...]
    instead: str = ""  # what is drawn, if it differs from the figure's title


def scores(runs: Sequence[Run], baseline: str, scale: str) -> Drawn:
    """Return scores on a scale: "human median", "human mean" or "baseline".

    Raises:
        UserError: there are no logged scores, or no runs of the baseline.
    """
    source = _source(runs)
    choices, instead = [f"scores are the {SOURCES[source]}"], ""
    if scale.startswith("human") and not all(run.game in random_human() for run in runs):
        choices.append("these games have no published human score, so scores are normalised by the baseline (HR eq. 8)")
        scale, instead = "baseline", "mean scores, normalised by the baseline"
    if scale == "baseline":
        if baseline not in {run.variant for run in runs}:
            raise MissingRuns(f"runs: there are no runs of {baseline}, the baseline for normalising scores")
        ranges = baseline_ranges(runs, baseline, source)
        missing = sorted({run.game for run in runs} - ranges.keys())
        if missing:
            raise UserError(f"runs: the baseline {baseline} has no runs in {', '.join(missing)}")
        found = curves(runs, source, lambda values, game: baseline_normalised(values, ranges[game]))
        return Drawn(found, f"baseline-normalised score ({baseline})", mean, tuple(choices), instead)
    function = median if scale == "human median" else mean
    found = curves(runs, source, human_normalised)
    return Drawn(found, f"human-normalised score ({scale.split()[1]})", function, tuple(choices))


def _source(runs: Sequence[Run]) -> str:
    source = "test" if all(run.curves["test"][0].size for run in runs) else "training"
    silent = next((run for run in runs if not run.curves[source][0].size), None)
    if silent is not None:
        raise UserError(f"runs: {silent.path} has no score in metrics.csv, because no game ended during training")
    return source


def raw_scores(runs: Sequence[Run]) -> Drawn:
    source = _source(runs)
    return Drawn(curves(runs, source), "raw score", mean, (f"scores are the {SOURCES[source]}",))


def dead_units(runs: Sequence[Run], layer: int = LAST) -> Drawn:
    """Return the percentage of dead units of a hidden layer, by the criterion for its activation."""
    choice = (
        "dead units are judged by density for bounded activations (HR B.1), by zero on every sample otherwise; "
        "2,048 recent observations of the agent"
    )
    label = "dead units, %"
    return Drawn(_diagnosed(runs, layer, lambda row: 100 * dead_fraction(row)), label, mean, (choice,))


def effective_ranks(runs: Sequence[Run], layer: int = LAST) -> Drawn:
    """Return the effective rank of a hidden layer; for a convolution, of its flattened map."""
    choice = "effective rank on 2,048 recent observations of the agent, or on 512 maps of a convolution"
    return Drawn(_diagnosed(runs, layer, _rank), "effective rank", mean, (choice,))


def dead_fraction(row: dict[str, str]) -> float:
    """Return the dead fraction of a row of `diagnostics.csv`, by the criterion for its activation."""
    return float(row["dead_kde"] if row["saturated"] else row["dead_zero"])


def _rank(row: dict[str, str]) -> float:
    return float(row["map_rank"] or row["effective_rank"])


def diagnostics(run: Run) -> dict[float, list[dict[str, str]]]:
    """Return rows of the hidden layers' outputs on fresh observations, by frame and in the network's order.

    Raises:
        UserError: the run has no such rows.
    """
    by_frame: dict[float, list[dict[str, str]]] = {}
    for row in read_csv(run.path / "diagnostics.csv"):
        if row["part"] == "output" and row["observations"] == FRESH:
            by_frame.setdefault(float(row["frame"]), []).append(row)
    if not by_frame:
        raise UserError(
            f"runs: {run.path} has no measurements of its layers (diagnostics.csv); train it for more than "
            "--diagnostics-every frames"
        )
    return by_frame


def _diagnosed(runs: Sequence[Run], layer: int, number: Callable[[dict[str, str]], float]) -> Curves:
    found: Curves = {}
    for run in sorted(runs, key=lambda run: (run.variant, run.game, run.seed)):
        measured = diagnostics(run)
        layers = min(map(len, measured.values()))
        if not -layers <= layer < layers:
            raise UserError(f"runs: {run.path} has {layers} hidden layers, but layer {layer + 1} is needed")
        points = [(frame, number(rows[layer])) for frame, rows in measured.items()]
        x, y = np.array(points, np.float64).T
        found.setdefault(run.variant, {}).setdefault(run.game, []).append((x, y))
    return found


def last_values(found: Curves) -> dict[str, dict[str, list[float]]]:
    """Return {variant: {game: [last value of each run]}}."""
    return {
        variant: {game: [float(np.asarray(y)[-1]) for _, y in rows] for game, rows in games.items()}
        for variant, games in found.items()
    }


def by_visit(runs: Sequence[Run], baseline: str) -> Drawn:
    """Return the score at the end of each visit of a sequence of games, scaled to 0 to 1 in each game."""
    choice = (
        "scores are the mean of the last 20 greedy test games of a visit, scaled by the range of all runs in the game"
    )
    return Drawn(visit_curves(runs), "score at the end of each game (range of all runs)", mean, (choice,))


MEASURES: dict[str, Callable[..., Any]] = {
    "visits": by_visit,
    "human median": lambda runs, baseline: scores(runs, baseline, "human median"),
    "human mean": lambda runs, baseline: scores(runs, baseline, "human mean"),
    "baseline": lambda runs, baseline: scores(runs, baseline, "baseline"),
    "dead": lambda runs, baseline: dead_units(runs),
    "rank": lambda runs, baseline: effective_ranks(runs),
    **{f"dead {i + 1}": lambda runs, baseline, i=i: dead_units(runs, i) for i in range(4)},
    **{f"rank {i + 1}": lambda runs, baseline, i=i: effective_ranks(runs, i) for i in range(4)},
}


# -- final values, for verdicts ------------------------------------------------------------------------------------


def final_values(runs: Sequence[Run], measure: str, baseline: str) -> dict[str, dict[str, list[float]]]:
    """Return {variant: {game: [value at the end of each run]}} of a measure, dead units as fractions.

    Args:
        measure: "score" (normalised by the baseline, HR eq. 8); "human score" (human-normalised, of the games played
            after training, since few test games end in a short run on Atari); "dead" or "rank", of the last hidden
            layer; "rank N", of layer N from 1; "dead anywhere" or "dormant anywhere", of the layer with the most; of a
            sequence of games "last visit" or "gain", the score at the end of the last visit to a game, or its gain over
            the first, in units of the range of all runs.

    Raises:
        UserError: a run lacks the measurement.
    """
    if measure == "score":
        return last_values(scores(runs, baseline, "baseline").curves)
    if measure == "human score":
        return _evaluated(runs)
    if measure == "dead":
        return _last_measured(runs, lambda rows: dead_fraction(rows[LAST]))
    if measure == "dead anywhere":
        return _last_measured(runs, lambda rows: max(map(dead_fraction, rows)))
    if measure == "dormant anywhere":
        return _last_measured(runs, lambda rows: max(float(row["dormant"]) for row in rows))
    if measure in ("last visit", "gain"):
        return cycle_values(runs, gain=measure == "gain")
    _, _, number = measure.partition(" ")
    return last_values(effective_ranks(runs, int(number) - 1 if number else LAST).curves)


def _evaluated(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for run in sorted(runs, key=lambda run: (run.variant, run.game, run.seed)):
        if run.evaluation is None:
            raise UserError(
                f"runs: {run.path} has no evaluation.json; play its games with: hadamax evaluate {run.path}"
            )
        score = float(human_normalised(np.mean(run.evaluation["returns"]), run.game))
        found.setdefault(run.variant, {}).setdefault(run.game, []).append(score)
    return found


def _last_measured(
    runs: Sequence[Run], number: Callable[[list[dict[str, str]]], float]
) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for run in sorted(runs, key=lambda run: (run.variant, run.game, run.seed)):
        measured = diagnostics(run)
        found.setdefault(run.variant, {}).setdefault(run.game, []).append(number(measured[max(measured)]))
    return found
