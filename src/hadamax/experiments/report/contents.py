"""The tables of a report."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from scipy import stats

from hadamax.experiments.published import published_agents
from hadamax.experiments.report.analysis import Analysis
from hadamax.experiments.report.beside import LEAST, beside_published, quoted
from hadamax.experiments.report.cost import costs, seconds_of
from hadamax.experiments.report.evidence import Evidence, Scale
from hadamax.experiments.report.health import MEASURES, Correlation, Health
from hadamax.experiments.report.settings import Setting, Settings
from hadamax.experiments.report.table import Cell, Column, Group, Table, interval, number, p_value, parts, words
from hadamax.experiments.statistics import AGGREGATES, Interval
from hadamax.training.published import random_human

NAMES = {"median": "Median", "iqm": "IQM", "mean": "Mean", "optimality_gap": "Optimality gap"}


def text(title: str, name: str = "") -> Column:
    return Column(title, (name or title.lower().replace(" ", "_"),))


def figure(title: str, name: str = "") -> Column:
    return Column(title, (name or title.lower().replace(" ", "_"),), number=True)


def spread(title: str, name: str) -> Column:
    return Column(title, parts(name), number=True)


def aggregates(analysis: Analysis, scale: Scale) -> Table:
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
        spread("IQM, difference", "iqm_difference"),
        spread("Median, difference", "median_difference"),
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
        figure("Median of 57 games, estimated", "estimated_median"),
        figure("Relative error", "relative_error_percent"),
    )
    return Table("estimates", "The 57-game median, estimated from a few games (Aitchison et al. 2022)", columns, rows)


def games(evidence: Evidence, analysis: Analysis) -> Table:
    """Raw scores: means over seeds with Student's 95% interval, and Welch's test against the baseline."""
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
    caption = "Raw scores, mean over seeds with Student's 95% interval"
    if evidence.variants[1:]:
        caption += f"; p: Welch's t-test against {evidence.baseline}, Holm over games"
    return Table("games", caption, tuple(columns), rows, searched=True)


def _student(scores: Sequence[float], group: Group) -> Cell:
    mean, n = float(np.mean(scores)), len(scores)
    form = ",.1f" if abs(mean) < 10_000 else ",.0f"
    if n < 2:
        return interval(Interval(mean, None, None), form, group)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(scores, ddof=1) / math.sqrt(n))
    found = Interval(mean, mean - half, mean + half)
    return Cell(f"{mean:{form}} ± {half:{form}}", (found.estimate, found.low, found.high), group)


def layers(evidence: Evidence, health: Mapping[Path, Health]) -> Table:
    """Means over runs of each layer's last measurement, by variant."""
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
    return Table("predictions", "Does it go with the score?", columns, rows)


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
        figure("Hours a run"),
        figure("Hours in all"),
        figure("Frames/s", "frames_per_second"),
        figure(f"Time a frame, over {evidence.baseline}", "relative_time"),
        figure("Memory, MiB", "memory_mib"),
        text("Machine"),
    )
    return Table("cost", "What training cost, and what came of it", columns, rows)


def published(evidence: Evidence) -> Table:
    rows = [
        [
            words(f"{b.agent} (here)" if b.ours else b.agent, Group(b.agent) if b.ours else None),
            number(b.games, "d"),
            number(b.median, runs=Group(b.agent) if b.ours else None),
            number(b.mean, runs=Group(b.agent) if b.ours else None),
            words(b.frames),
            words(b.protocol),
            words(b.source),
        ]
        for b in beside_published(evidence)
    ]
    columns = (
        text("Agent"),
        figure("Games"),
        figure("Median"),
        figure("Mean"),
        text("Frames"),
        text("Protocol"),
        text("Source"),
    )
    return Table("published", "Human-normalised, over those of our games that an agent has", columns, rows)


def published_games(evidence: Evidence) -> Table:
    names = [game for game in evidence.games if game in random_human()]
    agents = {
        agent: scores
        for agent, scores in published_agents().items()
        if names and sum(game in scores for game in names) >= LEAST * len(names)
    }
    rows = []
    for game in names:
        row = [words(game, Group("", game)), *(number(score, ",.1f") for score in random_human()[game])]
        for variant in evidence.variants:
            scores = evidence.raw[variant].get(game, [])
            row.append(number(float(np.mean(scores)) if scores else None, ",.1f", Group(variant, game)))
        rows.append([*row, *(number(scores.get(game), ",.1f") for scores in agents.values())])
    columns = [text("Game"), figure("Random"), figure("Human")]
    columns += [figure(f"{v} (here)", v) for v in evidence.variants] + [figure(agent) for agent in agents]
    return Table("published-games", "Raw scores beside published ones", tuple(columns), rows, searched=True)


def quotations() -> Table:
    rows = [[words(q.quantity), words(q.agent), words(q.frames), words(q.value), words(q.source)] for q in quoted()]
    columns = (text("Quantity"), text("Agent"), text("Frames"), text("Value"), text("Source"))
    return Table("quoted", "What the papers report over 57 games", columns, rows, searched=True)


def settings(evidence: Evidence, found: Settings) -> list[Table]:
    def table(name: str, caption: str, rows: Sequence[Setting]) -> Table:
        columns = (text("Setting"), text("Of", "group"), *(text(v, v) for v in evidence.variants))
        return Table(name, caption, columns, [[words(r.name), words(r.group), *map(words, r.values)] for r in rows])

    def alike(name: str, caption: str, rows: Sequence[Setting]) -> Table:
        cells = [[words(r.name), words(r.group), words(" / ".join(dict.fromkeys(r.values)))] for r in rows]
        return Table(name, caption, (text("Setting"), text("Of", "group"), text("Value")), cells)

    return [
        alike("protocol", "The protocol that the scores are of", found.protocol),
        table("differences", "Every setting that differs between variants, or within one", found.differing),
        alike("shared-settings", "Settings that all runs share", found.shared),
        alike("versions", "What the runs were made with", found.versions),
    ]


def runs(evidence: Evidence, health: Mapping[Path, Health], out: Path) -> Table:
    """Every run that counts, in the order of `evidence.rows`: its place is its anchor."""
    scales, above = evidence.scales, os.path.commonpath([run.path.parent for run in evidence.counted])
    rows = []
    for run, row in zip(evidence.counted, evidence.rows, strict=True):
        seconds, measured = seconds_of(run), health.get(run.path)
        scaled = [
            float(scale.scaled(np.float64(row.score), run.game)) if run.game in scale.limits else None  # type: ignore[arg-type]
            for scale in scales
        ]
        rate = run.clock[0][-1] / seconds if seconds else None
        dead = measured.measure("dead") if measured else None
        rows.append(
            [
                Cell(os.path.relpath(run.path, above), (str(run.path),), None, link(run.path, out)),
                words(run.variant),
                words(run.game),
                number(run.seed, "d"),
                number(row.score, ",.2f"),
                *(number(value, ",.3f") for value in scaled),
                number(row.games, "d"),
                number(row.frame, ",d"),
                number(seconds / 3600 if seconds else None, ",.3g"),
                number(rate, ",.0f"),
                number(measured.measure("rank") if measured else None, ".0f"),
                number(100 * dead if dead is not None else None, ".1f", suffix="%"),
                words(row.protocol),
            ]
        )
    columns = (
        *(text("Run"), text("Variant"), text("Game"), figure("Seed"), figure("Score")),
        *(figure(scale.key.capitalize() + "-normalised", f"{scale.key}_normalised") for scale in scales),
        *(figure("Games", "games_played"), figure("Frame"), figure("Hours"), figure("Frames/s", "frames_per_second")),
        *(figure("Rank", "effective_rank"), figure("Dead", "dead_percent"), text("Protocol")),
    )
    return Table("runs", "Every run that counts; its name leads to its folder", columns, rows, searched=True)


def left_out(evidence: Evidence, out: Path) -> Table:
    rows = [
        [words(run.path, href=link(Path(run.path), out) if Path(run.path).is_dir() else ""), words(run.reason)]
        for run in evidence.left_out
    ]
    return Table("left-out", "Runs that failed, are not finished, or cannot be read", (text("Run"), text("Why")), rows)


def link(run: Path, out: Path) -> str:
    """A run's folder, as seen from the report's."""
    return quote(os.path.relpath(run.resolve(), out.resolve())) + "/"
