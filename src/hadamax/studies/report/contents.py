"""Result tables of a report: scores, layers, cost. Tables of sources and settings are in `sources.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hadamax.confidence import ci95_half_width
from hadamax.studies.collect import Run
from hadamax.studies.report.analysis import Analysis
from hadamax.studies.report.evidence import Evidence, ScoreScale
from hadamax.studies.report.health import MEASURES, Correlation, RunHealth
from hadamax.studies.report.table import Cell, Group, Table, figure, interval, number, p_value, spread, text, words
from hadamax.studies.statistics import AGGREGATES, Interval

NAMES = {"median": "Median", "iqm": "IQM", "mean": "Mean", "optimality_gap": "Optimality gap"}


def aggregates(analysis: Analysis, scale: ScoreScale) -> Table:
    rows = []
    for variant, found in analysis.intervals[scale.key].items():
        games, group = scale.scores[variant], Group(variant)
        rows.append(
            [
                words(variant, group),
                number(len(games), "d"),
                number(sum(map(len, games.values())), "d", group),
                *(interval(found[name], runs=group) for name in AGGREGATES),
            ]
        )
    columns = [text("Variant"), figure("Games"), figure("Runs"), *(spread(NAMES[n], n) for n in AGGREGATES)]
    return Table(f"aggregates-{scale.key}", f"Aggregates of the {scale.name}", tuple(columns), rows)


def comparisons(evidence: Evidence, analysis: Analysis) -> Table:
    rows = []
    for variant in evidence.variants[1:]:
        test, group = analysis.tests[variant], Group(variant)
        rows.append(
            [
                words(variant, group),
                interval(analysis.differences[variant]["iqm"], "+.2f", group),
                interval(analysis.differences[variant]["median"], "+.2f", group),
                interval(analysis.improvement[variant], runs=group),
                number(test.number, "d", group),
                p_value(test.p_value, group),
                p_value(test.adjusted, group),
                words(test.note),
            ]
        )
    columns = (
        text("Variant"),
        spread("IQM difference", "iqm_difference"),
        spread("Median difference", "median_difference"),
        spread("Probability of improvement", "probability_of_improvement"),
        figure("Games"),
        figure("Wilcoxon p", "wilcoxon_p"),
        figure("p, Holm", "wilcoxon_p_holm"),
        text("Note"),
    )
    return Table("comparisons", f"Each variant against {evidence.baseline}", columns, rows)


def estimates(analysis: Analysis) -> Table:
    rows = [
        [
            words(e.subset),
            words(variant, Group(variant)),
            number(median, runs=Group(variant)),
            number(100 * e.relative_error, ".1f", suffix="%"),
        ]
        for e in analysis.estimates
        for variant, median in e.medians.items()
    ]
    columns = (
        text("Subset"),
        text("Variant"),
        figure("Estimated median of 57 games", "estimated_median"),
        figure("Relative error", "relative_error_percent"),
    )
    return Table("estimates", "57-game median, estimated from a subset of games (Aitchison et al. 2022)", columns, rows)


def games(evidence: Evidence, analysis: Analysis) -> Table:
    """Build the table of raw scores per game: means over seeds, 95% t intervals, Welch's test against the baseline."""
    rows = []
    for game in evidence.games:
        row = [words(game, Group("", game))]
        for variant in evidence.variants:
            scores, group = evidence.raw[variant].get(game, []), Group(variant, game)
            if scores:
                row += [_student(scores, group), number(len(scores), "d", group)]
            else:
                row += [interval(None), number(0, "d")]
        for variant in evidence.variants[1:]:
            test = analysis.game_tests[variant].get(game)
            row.append(p_value(test.adjusted if test else None, Group("", game)))
        rows.append(row)
    columns = [text("Game")]
    for variant in evidence.variants:
        columns += [spread(variant, variant), figure("Seeds", f"{variant}_seeds")]
    columns += [figure(f"p, {v}", f"{v}_p_holm") for v in evidence.variants[1:]]
    caption = "Raw scores, mean over seeds with 95% confidence interval (Student's t)"
    if evidence.variants[1:]:
        caption += f"; p: Welch's t-test against {evidence.baseline}, Holm-corrected over games"
    return Table("games", caption, tuple(columns), rows, searched=True)


def _student(scores: Sequence[float], group: Group) -> Cell:
    mean, n = float(np.mean(scores)), len(scores)
    form = ",.1f" if abs(mean) < 10_000 else ",.0f"
    if n < 2:
        return interval(Interval(mean, None, None), form, group)
    half = float(ci95_half_width(scores))
    found = Interval(mean, mean - half, mean + half)
    return Cell(f"{mean:{form}} ± {half:{form}}", (found.estimate, found.low, found.high), group)


def layers(evidence: Evidence, health: Mapping[Path, RunHealth]) -> Table:
    """Build the table of each layer's last measurement, means over runs, by variant."""
    rows = []
    for variant in evidence.variants:
        measured = [health[run.path] for run in evidence.counted if run.variant == variant and run.path in health]
        for name in dict.fromkeys(layer.name for one in measured for layer in one.layers):
            found = [layer for one in measured for layer in one.layers if layer.name == name]
            row = [words(variant, Group(variant)), words(name), number(len(found), "d", Group(variant))]
            units = sorted({layer.units for layer in found})
            row.append(words(" or ".join(map(str, units))))
            for measure, form, factor in (("rank", ".1f", 1), ("dead", ".1f", 100), ("dormant", ".1f", 100)):
                values = [getattr(layer, measure) for layer in found if getattr(layer, measure) is not None]
                mean = factor * float(np.mean(values)) if values else None
                row.append(number(mean, form, Group(variant), "%" if factor == 100 else ""))
            rows.append(row)
    columns = (
        text("Variant"),
        text("Layer"),
        figure("Runs"),
        figure("Units"),
        figure("Effective rank"),
        figure("Dead", "dead_percent"),
        figure("Dormant", "dormant_percent"),
    )
    return Table("layers", "Representation health at the last measurement, means over runs", columns, rows)


def predictions(found: Sequence[Correlation]) -> Table:
    rows = [
        [
            words(MEASURES[one.measure]),
            words(one.within),
            number(one.coefficient, "+.2f", Group()),
            p_value(one.p_value, Group()),
            number(one.groups, "d"),
            number(one.runs, "d"),
        ]
        for one in found
    ]
    columns = (
        text("Measure"),
        text("Compared within"),
        figure("Spearman, mean", "spearman"),
        figure("p, permutations", "p_permutation"),
        figure("Groups"),
        figure("Runs"),
    )
    return Table("predictions", "Correlation of each measure with the score", columns, rows)


def cost(evidence: Evidence, analysis: Analysis) -> Table:
    scale = evidence.scales[0] if evidence.scales else None
    rows = []
    for variant, found in costs(evidence).items():
        group = Group(variant)
        score = analysis.intervals[scale.key][variant]["iqm"] if scale else None
        rows.append(
            [
                words(variant, group),
                interval(score, runs=group),
                number(found.runs, "d", group),
                number(found.hours_a_run, ",.3g", group),
                number(found.hours, ",.4g", group),
                number(found.frames_per_second, ",.0f", group),
                number(found.relative, ",.2f", group),
                number(found.memory_mib, ",.0f", group),
                words(found.machines),
            ]
        )
    columns = (
        text("Variant"),
        spread(f"IQM, {scale.name}" if scale else "IQM", "iqm"),
        figure("Runs"),
        figure("Hours per run", "hours_a_run"),
        figure("Total hours", "hours_in_all"),
        figure("Frames/s", "frames_per_second"),
        figure(f"Time per frame relative to {evidence.baseline}", "relative_time"),
        figure("Memory, MiB", "memory_mib"),
        text("Machine"),
    )
    return Table("cost", "Training cost and resulting score", columns, rows)


class CostRow(NamedTuple):
    """Cost of a variant's runs, without evaluation."""

    runs: int
    hours: float  # total
    hours_a_run: float
    frames_per_second: float  # all frames over all seconds
    relative: float | None  # seconds per frame, relative to the baseline
    memory_mib: float | None  # maximum over runs, at their end
    machines: str


def costs(evidence: Evidence) -> dict[str, CostRow]:
    """Return the cost of each variant whose runs logged their time."""
    found: dict[str, CostRow] = {}
    for variant in evidence.variants:
        runs = [run for run in evidence.counted if run.variant == variant and run.training_seconds]
        if not runs:
            continue
        seconds = np.array([run.training_seconds for run in runs])
        rate = float(sum(run.clock[0][-1] for run in runs) / seconds.sum())
        first = found.get(evidence.baseline)
        memory = [run.memory_mib for run in runs if run.memory_mib is not None]
        found[variant] = CostRow(
            len(runs),
            float(seconds.sum()) / 3600,
            float(seconds.mean()) / 3600,
            rate,
            first.frames_per_second / rate if first else (1.0 if variant == evidence.baseline else None),
            max(memory, default=None),
            machines(runs),
        )
    return found


def machines(runs: Sequence[Run]) -> str:
    """Describe processor, device, precision and threads of runs, which determine their speed."""
    found = dict.fromkeys(
        f"{run.versions.get('processor', 'unknown processor')}, {run.settings.run.device}, "
        f"{run.settings.run.precision}, {run.settings.run.threads} threads"
        for run in runs
    )
    return "; ".join(found)
