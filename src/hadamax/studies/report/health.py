"""Representation health beside score: what each run's diagnostics end at, and whether they go with its score.

A score's rank and a measure's rank are correlated within groups of runs (Spearman's coefficient, averaged over groups),
and tested by shuffling scores within groups: games differ in both, and must not make a correlation of their own. Within
a game the groups show what differs between variants too; within a game and a variant only seeds differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from hadamax.runs.folder import RunFolder
from hadamax.studies.collect import Run, read_columns
from hadamax.studies.report.evidence import Evidence
from hadamax.studies.scores import Array

OBSERVATIONS = "fixed"  # of random play: a network that plays better does not see others for it
PERMUTATIONS = 10_000
LEAST = 3  # runs of a group: two always correlate perfectly
MEASURES = {
    "rank": "effective rank of the last hidden layer",
    "dead": "dead units of the last hidden layer",
    "dormant": "dormant units of the last hidden layer",
    "most_dead": "dead units of the layer that has most of them",
}
COLUMNS = ("frame", "observations", "layer", "part", "units", "dead_kde", "dead_zero", "dormant", "effective_rank")


class Layer(NamedTuple):
    """A layer at a run's last measurement; fractions are of its units."""

    name: str
    units: int
    rank: float | None
    dead: float | None
    dormant: float | None


class Health(NamedTuple):
    """A run's layers at its last measurement, the last hidden layer last, and two numbers along its training."""

    frame: int
    layers: tuple[Layer, ...]
    rank: tuple[Array, Array]  # frames, effective rank of the last hidden layer
    dead: tuple[Array, Array]  # frames, fraction

    def measure(self, name: str) -> float | None:
        """One of `MEASURES`."""
        if name == "most_dead":
            return max((layer.dead for layer in self.layers if layer.dead is not None), default=None)
        value = getattr(self.layers[-1], name)
        return None if value is None else float(value)


class Correlation(NamedTuple):
    """Spearman's coefficient, a mean over groups of runs; None where no group has enough of them."""

    measure: str
    within: str  # "game", or "game and variant"
    coefficient: float | None
    p_value: float | None
    groups: int
    runs: int


def read_health(run: Run) -> Health | None:
    """What a run measured of its layers' outputs; None where it measured nothing, or nothing that can be read."""
    try:
        columns = read_columns(RunFolder(run.path).diagnostics, COLUMNS, ["saturated"])
        return _health(columns)
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _health(columns: dict[str, list[str]]) -> Health | None:
    number = len(columns["frame"])
    kept = [i for i in range(number) if columns["part"][i] == "output" and columns["observations"][i] == OBSERVATIONS]
    if not kept:
        return None

    def cell(name: str, i: int) -> float | None:
        text = columns[name][i] if columns[name] else ""
        return float(text) if text else None

    def dead(i: int) -> float | None:
        """Of the form that fits: HR's for bounded activations, zero on every sample for others."""
        return cell("dead_kde" if cell("saturated", i) is not None else "dead_zero", i)

    last_frame, name = columns["frame"][kept[-1]], columns["layer"][kept[-1]]
    layers = tuple(
        Layer(columns["layer"][i], int(columns["units"][i]), cell("effective_rank", i), dead(i), cell("dormant", i))
        for i in kept
        if columns["frame"][i] == last_frame
    )
    along = [i for i in kept if columns["layer"][i] == name]
    ranks = [(int(columns["frame"][i]), cell("effective_rank", i)) for i in along]
    deaths = [(int(columns["frame"][i]), dead(i)) for i in along]
    return Health(int(last_frame), layers, _points(ranks), _points(deaths))


def _points(rows: Iterable[tuple[int, float | None]]) -> tuple[Array, Array]:
    told = np.array([row for row in rows if row[1] is not None], np.float64).reshape(-1, 2)
    return told[:, 0], told[:, 1]


def correlations(evidence: Evidence, health: Mapping[Path, Health]) -> list[Correlation]:
    """Of every measure with the raw score, within games, and within games and variants."""
    found = []
    for measure in MEASURES:
        for within in ("game", "game and variant"):
            groups: dict[tuple[str, ...], list[tuple[float, float]]] = {}
            for run, row in zip(evidence.counted, evidence.rows, strict=True):
                value = health[run.path].measure(measure) if run.path in health else None
                if value is not None:
                    key = (run.game,) if within == "game" else (run.game, run.variant)
                    groups.setdefault(key, []).append((value, row.score))
            found.append(_correlation(measure, within, [np.array(group) for group in groups.values()]))
    return found


def _correlation(measure: str, within: str, groups: list[Array]) -> Correlation:
    """Groups [run, (measure, score)] in which one of the two never moves say nothing."""
    told = [g for g in groups if len(g) >= LEAST and all(np.ptp(g[:, side]) > 0 for side in (0, 1))]
    if not told:
        return Correlation(measure, within, None, None, 0, 0)
    pairs = [tuple(_standard_ranks(group[:, side]) for side in (0, 1)) for group in told]
    coefficient = float(np.mean([x @ y for x, y in pairs]))
    generator = np.random.default_rng(0)
    drawn = np.zeros(PERMUTATIONS)
    for x, y in pairs:
        drawn += generator.permuted(np.broadcast_to(y, (PERMUTATIONS, y.size)), axis=1) @ x / len(pairs)
    beyond = int((np.abs(drawn) >= abs(coefficient) - 1e-12).sum())
    p_value = (1 + beyond) / (1 + PERMUTATIONS)  # the observed order is one of them
    return Correlation(measure, within, coefficient, p_value, len(told), sum(map(len, told)))


def _standard_ranks(values: Array) -> Array:
    """Ranks of mean 0 and length 1, so that the product of two is Spearman's coefficient."""
    ranks = stats.rankdata(values)
    ranks = ranks - ranks.mean()
    return np.asarray(ranks / np.sqrt(ranks @ ranks))
