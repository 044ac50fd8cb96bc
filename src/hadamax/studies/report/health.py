"""Representation health and score: each run's last measurements, and their correlation with its score.

Measure and score are correlated within groups of runs (Spearman's coefficient, averaged over groups) and tested by
permuting scores within groups, because games differ in both, which would create a correlation. Within a game, groups
include differences between variants; within a game and a variant, only seeds differ.
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

OBSERVATIONS = "fixed"  # of random play, so they do not depend on how well the network plays
PERMUTATIONS = 10_000
LEAST = 3  # runs per group; two always correlate perfectly
MEASURES = {
    "rank": "effective rank of the last hidden layer",
    "dead": "dead units of the last hidden layer",
    "dormant": "dormant units of the last hidden layer",
    "most_dead": "dead units of the layer with most of them",
}
COLUMNS = ("frame", "observations", "layer", "part", "units", "dead_kde", "dead_zero", "dormant", "effective_rank")


class LayerHealth(NamedTuple):
    """A layer at a run's last measurement; fractions are of its units."""

    name: str
    units: int
    rank: float | None
    dead: float | None
    dormant: float | None


class RunHealth(NamedTuple):
    """A run's layers at its last measurement (last hidden layer last), and two measures during training."""

    frame: int
    layers: tuple[LayerHealth, ...]
    rank: tuple[Array, Array]  # frames, effective rank of the last hidden layer
    dead: tuple[Array, Array]  # frames, fraction

    def measure(self, name: str) -> float | None:
        """Return one of `MEASURES`, or None."""
        if name == "most_dead":
            return max((layer.dead for layer in self.layers if layer.dead is not None), default=None)
        value = getattr(self.layers[-1], name)
        return None if value is None else float(value)


class Correlation(NamedTuple):
    """Spearman's coefficient, mean over groups of runs; None if no group has enough runs."""

    measure: str
    within: str  # "game", or "game and variant"
    coefficient: float | None
    p_value: float | None
    groups: int
    runs: int


def read_health(run: Run) -> RunHealth | None:
    """Read a run's measurements of its layers' outputs; None if there are none or they are unreadable."""
    try:
        columns = read_columns(RunFolder(run.path).diagnostics, COLUMNS, ["saturated"])
        return _health(columns)
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _health(columns: dict[str, list[str]]) -> RunHealth | None:
    number = len(columns["frame"])
    kept = [i for i in range(number) if columns["part"][i] == "output" and columns["observations"][i] == OBSERVATIONS]
    if not kept:
        return None

    def cell(name: str, i: int) -> float | None:
        text = columns[name][i] if columns[name] else ""
        return float(text) if text else None

    def dead(i: int) -> float | None:
        """Return the dead fraction: by HR's density for bounded activations, else zero on every sample."""
        return cell("dead_kde" if cell("saturated", i) is not None else "dead_zero", i)

    last_frame, name = columns["frame"][kept[-1]], columns["layer"][kept[-1]]
    layers = tuple(
        LayerHealth(
            columns["layer"][i], int(columns["units"][i]), cell("effective_rank", i), dead(i), cell("dormant", i)
        )
        for i in kept
        if columns["frame"][i] == last_frame
    )
    along = [i for i in kept if columns["layer"][i] == name]
    ranks = [(int(columns["frame"][i]), cell("effective_rank", i)) for i in along]
    deaths = [(int(columns["frame"][i]), dead(i)) for i in along]
    return RunHealth(int(last_frame), layers, _points(ranks), _points(deaths))


def _points(rows: Iterable[tuple[int, float | None]]) -> tuple[Array, Array]:
    known = np.array([row for row in rows if row[1] is not None], np.float64).reshape(-1, 2)
    return known[:, 0], known[:, 1]


def correlations(evidence: Evidence, health: Mapping[Path, RunHealth]) -> list[Correlation]:
    """Correlate every measure with the raw score, within games, and within games and variants."""
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
    """Correlate within groups [run, (measure, score)]; groups in which measure or score is constant are ignored."""
    usable = [g for g in groups if len(g) >= LEAST and all(np.ptp(g[:, side]) > 0 for side in (0, 1))]
    if not usable:
        return Correlation(measure, within, None, None, 0, 0)
    pairs = [tuple(_standard_ranks(group[:, side]) for side in (0, 1)) for group in usable]
    coefficient = float(np.mean([x @ y for x, y in pairs]))
    generator = np.random.default_rng(0)
    drawn = np.zeros(PERMUTATIONS)
    for x, y in pairs:
        drawn += generator.permuted(np.broadcast_to(y, (PERMUTATIONS, y.size)), axis=1) @ x / len(pairs)
    beyond = int((np.abs(drawn) >= abs(coefficient) - 1e-12).sum())
    p_value = (1 + beyond) / (1 + PERMUTATIONS)  # includes the observed order
    return Correlation(measure, within, coefficient, p_value, len(usable), sum(map(len, usable)))


def _standard_ranks(values: Array) -> Array:
    """Return ranks with mean 0 and norm 1; the product of two is Spearman's coefficient."""
    ranks = stats.rankdata(values)
    ranks = ranks - ranks.mean()
    return np.asarray(ranks / np.sqrt(ranks @ ranks))
