"""All figures of a report, sized for a paper, as SVG and PDF files and as SVG for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hadamax.studies.collect import Run
from hadamax.studies.report.analysis import CURVE_REPLICATES, POINTS, Analysis, Bands, series
from hadamax.studies.report.evidence import Evidence
from hadamax.studies.report.health import RunHealth
from hadamax.studies.report.style import MUTED, PAPER, for_page, style_of, to_pdf, to_svg
from hadamax.studies.report.table import csv_text, in_words
from hadamax.studies.scores import Array
from hadamax.studies.statistics import Band, Interval, common_frames, sample_efficiency
from hadamax.studies.statistics.bootstrap import mean

WIDTH = 6.8  # inches: a paper's text width
MILLION = 1e6
LEGEND_COLUMNS = 4
FAR = 20.0  # maximum score above which a scatter plot's axis is logarithmic
TITLES = {"median": "Median", "iqm": "IQM", "mean": "Mean", "optimality_gap": "Optimality gap ↓"}
Rows = Mapping[str, Sequence[tuple[Array, Array]]]  # {variant: [(x, y) of each run]}


def figure(width: float = WIDTH, height: float = 2.8, **how: Any) -> Figure:
    with matplotlib.rc_context(PAPER):
        return Figure(figsize=(width, height), layout=how.pop("layout", "constrained"), **how)


def plot_intervals(table: Mapping[str, Mapping[str, Interval]], axis: str) -> Figure:
    """Draw a panel per aggregate with a row per variant."""
    with matplotlib.rc_context(PAPER):
        drawn = figure(height=0.95 + 0.24 * len(table))
        panels = drawn.subplots(1, len(TITLES), sharey=True)
        for axes, (name, title) in zip(panels, TITLES.items(), strict=True):
            _rows(axes, {variant: row[name] for variant, row in table.items()})
            axes.set_title(title, loc="left", fontsize=8)
        drawn.supxlabel(axis, fontsize=9)
    return drawn


def plot_improvement(table: Mapping[str, Interval], baseline: str, numbers: Mapping[str, int]) -> Figure:
    """Draw P(variant beats baseline), a row per variant."""
    with matplotlib.rc_context(PAPER):
        drawn = figure(height=0.85 + 0.26 * len(table))
        axes = drawn.subplots()
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
        _rows(axes, table, numbers)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"probability that a run beats a run of {baseline}")
    return drawn


def _rows(axes: Axes, table: Mapping[str, Interval], numbers: Mapping[str, int] | None = None) -> None:
    for place, (variant, interval) in enumerate(table.items()):
        style = style_of(numbers[variant] if numbers else place)
        if interval.low is not None and interval.high is not None:
            axes.plot(
                [interval.low, interval.high],
                [place] * 2,
                color=style.colour,
                linewidth=5,
                alpha=0.35,
                solid_capstyle="butt",
            )
        axes.plot([interval.estimate], [place], style.marker, color=style.colour, markersize=5.5)
    axes.set_yticks(range(len(table)), list(table))
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="y", length=0)


def plot_bands(
    table: Mapping[str, Band], x_label: str, y_label: str, *, variants: Sequence[str], scale: float = 1.0
) -> Figure:
    """Draw a line with a shaded interval per variant."""
    with matplotlib.rc_context(PAPER):
        drawn = figure(height=3.1)
        axes = drawn.subplots()
        for variant, band in table.items():
            _band(axes, band, variants.index(variant), variant, scale)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.margins(x=0.01)
        _legend(drawn, variants)
    return drawn


def _band(axes: Axes, band: Band, number: int, variant: str, scale: float = 1.0) -> None:
    style, x = style_of(number), band.x / scale
    if band.low is not None and band.high is not None:
        axes.fill_between(x, band.low, band.high, color=style.colour, alpha=0.2, linewidth=0)
    every = max(len(x) // 8, 1)
    axes.plot(
        x,
        band.estimate,
        color=style.colour,
        linestyle=style.dashes,
        linewidth=1.8,
        marker=style.marker,
        markersize=4,
        markevery=(number * every // 7 % max(len(x), 1), every),
        label=variant,
    )


def plot_along(panels: Sequence[tuple[str, Mapping[str, Band]]], variants: Sequence[str]) -> Figure:
    """Draw panels of bands over frames, side by side."""
    with matplotlib.rc_context(PAPER):
        drawn = figure(height=2.9)
        for axes, (title, table) in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for variant, band in table.items():
                _band(axes, band, variants.index(variant), variant, MILLION)
            axes.set_title(title, loc="left", fontsize=8)
            axes.set_xlabel("million frames")
            axes.set_ylim(bottom=0)
        _legend(drawn, variants)
    return drawn


def plot_scatter(panels: Sequence[tuple[str, Mapping[str, Array]]], variants: Sequence[str], y_label: str) -> Figure:
    """Draw a point per run, [run, (x, y)] by variant, in a panel per measure."""
    with matplotlib.rc_context(PAPER):
        drawn = figure(height=2.9)
        for axes, (title, table) in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for variant, points in table.items():
                style = style_of(variants.index(variant))
                axes.plot(*points.T, style.marker, color=style.colour, markersize=3.6, alpha=0.6, markeredgewidth=0)
            axes.set_xlabel(title)
            if max(float(points[:, 1].max()) for points in table.values()) > FAR:
                axes.set_yscale("symlog", linthresh=1.0)
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        drawn.axes[0].set_ylabel(y_label)
        _legend(drawn, variants, lines=False)
    return drawn


def _game_axes(axes: Axes, rows: Rows, variants: Sequence[str], *, labels: bool = True) -> None:
    """Draw a game's curves: thin lines for runs, a thick line for the mean over a variant's common frames."""
    for variant, curves in rows.items():
        style = style_of(variants.index(variant))
        for x, y in curves:
            axes.plot(x / MILLION, y, color=style.colour, linewidth=0.5, alpha=0.4)
        if len(curves) > 1:
            start, stop = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
            if start < stop:
                at = np.linspace(start, stop, 40)
                average = np.mean([np.interp(at, x, y) for x, y in curves], axis=0)
                axes.plot(at / MILLION, average, color=style.colour, linestyle=style.dashes, linewidth=1.7)
        elif curves:
            axes.plot(curves[0][0] / MILLION, curves[0][1], color=style.colour, linestyle=style.dashes, linewidth=1.4)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    axes.margins(x=0.01)
    if labels:
        axes.set_xlabel("million frames")


def plot_games(tables: Mapping[str, Rows], variants: Sequence[str], columns: int = 5) -> Figure:
    """Draw every game's curves on one page, larger if there are few games."""
    columns = min(columns, len(tables))
    lines, legend = -(-len(tables) // columns), 0.24 + 0.21 * -(-len(variants) // LEGEND_COLUMNS)  # inches
    with matplotlib.rc_context({**PAPER, "font.size": 6, "axes.titlesize": 6.5}):
        height = min(5.75 / columns, 2.2) * lines + 0.14 + legend
        drawn = figure(height=height, layout=None)
        bottom, top = 0.36 / height, 1 - legend / height
        drawn.subplots_adjust(left=0.06, right=0.99, bottom=bottom, top=top, wspace=0.32, hspace=0.55)
        panels = drawn.subplots(lines, columns, squeeze=False).ravel()
        for axes, (name, rows) in zip(panels, tables.items(), strict=False):
            _game_axes(axes, rows, variants, labels=False)
            axes.set_title(name, loc="left", pad=2)
        for axes in panels[len(tables) :]:
            axes.remove()
        drawn.supxlabel("million frames", fontsize=7, y=0.05 / height)
        _legend(drawn, variants, place="upper center")
    return drawn


def plot_game(rows: Rows, variants: Sequence[str]) -> Figure:
    """Draw one game's curves at a small size, for the page."""
    with matplotlib.rc_context({**PAPER, "axes.labelsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8}):
        drawn = Figure(figsize=(2.9, 1.75), layout=None)
        drawn.subplots_adjust(left=0.16, right=0.985, bottom=0.235, top=0.97)
        _game_axes(drawn.subplots(), rows, variants)
        return drawn


def _legend(drawn: Figure, variants: Sequence[str], *, lines: bool = True, place: Any = "outside upper center") -> None:
    handles = [
        Line2D(
            [],
            [],
            color=style.colour,
            linestyle=style.dashes if lines else "",
            marker=style.marker,
            markersize=4.5,
            linewidth=1.8,
            label=variant,
        )
        for variant, style in zip(variants, map(style_of, range(len(variants))), strict=True)
    ]
    drawn.legend(handles=handles, loc=place, ncols=min(len(variants), LEGEND_COLUMNS), handlelength=3.2)


def _short(value: float, _: Any) -> str:
    """Format a tick label: 12k for 12,000."""
    if abs(value) >= MILLION:
        return f"{value / MILLION:g}M"
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


THIN = 80  # maximum number of points of a run's line


class Drawing(NamedTuple):
    """A figure by name: SVG for the page, and files by path."""

    name: str
    svg: str
    files: dict[str, bytes]


Files = dict[str, bytes]
Points = tuple[Array, Array]


def draw(evidence: Evidence, analysis: Analysis, health: Mapping[Path, RunHealth]) -> Iterator[Drawing]:
    """Draw all figures that have data."""
    for scale in evidence.scales:
        table = analysis.intervals[scale.key]
        about = "; ".join(f"{variant}: IQM {in_words(found['iqm'])}" for variant, found in table.items())
        yield _drawing(
            f"aggregates-{scale.key}", plot_intervals(table, scale.name), f"Aggregates of the {scale.name}", about
        )
    if analysis.improvement:
        about = "; ".join(f"{variant}: {in_words(found)}" for variant, found in analysis.improvement.items())
        numbers = {variant: number for number, variant in enumerate(evidence.variants)}
        drawn = plot_improvement(analysis.improvement, evidence.baseline, numbers)
        yield _drawing("improvement", drawn, f"Probability of improvement over {evidence.baseline}", about)
    name = evidence.scales[0].name if evidence.scales else ""
    for key, bands, x, y, unit in (
        ("profile", analysis.profiles, f"{name} (t)", "fraction of runs with a score above t", 1.0),
        ("sample-efficiency", analysis.by_frames, "million frames", f"IQM, {name}", MILLION),
        ("time-efficiency", analysis.by_hours, "hours of training", f"IQM, {name}", 1.0),
    ):
        if bands:
            drawn = plot_bands(bands, x, y, variants=evidence.variants, scale=unit)
            yield _with_bands(_drawing(key, drawn, f"{y} by {x}", _ends(bands)), bands)
    yield from _health(evidence, health)
    rows = game_rows(evidence)
    if rows:
        files = _files("games", plot_games(rows, evidence.variants))
        yield Drawing("games", "", files)


def _health(evidence: Evidence, health: Mapping[Path, RunHealth]) -> Iterator[Drawing]:
    rank = _along(evidence, lambda run: health[run.path].rank if run.path in health else _none())
    dead = _along(evidence, lambda run: health[run.path].dead if run.path in health else _none())
    panels = [("effective rank, last hidden layer", rank), ("dead units, last hidden layer", dead)]
    panels = [(title, bands) for title, bands in panels if bands]
    if panels:
        drawn = plot_along(panels, evidence.variants)
        about = "; ".join(f"{title}: {_ends(bands)}" for title, bands in panels)
        drawing = _drawing("health", drawn, "Representation health during training", about)
        for name, bands in (("rank", rank), ("dead", dead)):
            drawing = _with_bands(drawing, bands, f"health-{name}")
        yield drawing
    if not evidence.scales:
        return
    scale, found = evidence.scales[0], []
    for measure, title in (("rank", "effective rank, last hidden layer"), ("dead", "dead units, last hidden layer")):
        points: dict[str, list[tuple[float, float]]] = {}
        for run, row in zip(evidence.counted, evidence.rows, strict=True):
            value = health[run.path].measure(measure) if run.path in health else None
            if value is not None and row.game in scale.limits:
                score = float(scale.scaled(np.array(row.score), row.game))
                points.setdefault(row.variant, []).append((value, score))
        if points:
            found.append((title, {variant: np.array(rows) for variant, rows in points.items()}))
    if found:
        about = "; ".join(f"{v}: {len(p)} runs" for v, p in found[0][1].items())
        drawn = plot_scatter(found, evidence.variants, scale.name)
        yield _drawing("health-and-score", drawn, "Representation health and score, one point per run", about)


def _none() -> Points:
    return np.zeros(0), np.zeros(0)


def _along(evidence: Evidence, of_run: Callable[[Run], Points]) -> Bands:
    """Compute the mean over games and runs, at frames measured by all runs of a variant."""
    found = {}
    for variant, rows in series(evidence, of_run, evidence.common).items():
        try:
            found[variant] = sample_efficiency(rows, common_frames(rows, POINTS), mean, replicates=CURVE_REPLICATES)
        except ValueError:  # no common frame, because a run measured only once
            continue
    return found


def game_rows(evidence: Evidence) -> dict[str, dict[str, list[Points]]]:
    """Group curves as {game: {variant: [(frames, raw scores) per run]}}, thinned for drawing."""
    found: dict[str, dict[str, list[Points]]] = {game: {} for game in evidence.games}
    for run in evidence.counted:
        x, y = run.curves[evidence.curve_source]
        if x.size:
            kept = np.unique(np.linspace(0, x.size - 1, min(THIN, x.size)).astype(int))
            found[run.game].setdefault(run.variant, []).append((x[kept], y[kept]))
    return {game: rows for game, rows in found.items() if rows}


def draw_games(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Yield each game's name and its curves as SVG for the page."""
    for number, (game, rows) in enumerate(game_rows(evidence).items()):
        drawn = plot_game(rows, evidence.variants)
        ends = {variant: float(np.mean([y[-1] for _, y in curves])) for variant, curves in rows.items()}
        about = "; ".join(f"{variant} ends at {end:,.1f}, {len(rows[variant])} runs" for variant, end in ends.items())
        yield game, for_page(to_svg(drawn), f"game-{number}", f"{game}: score during training", about)


def _drawing(name: str, drawn: Figure, title: str, about: str) -> Drawing:
    files = _files(name, drawn)
    return Drawing(name, for_page(files[f"figures/{name}.svg"].decode(), name, title, about), files)


def _files(name: str, drawn: Figure) -> Files:
    return {f"figures/{name}.svg": to_svg(drawn).encode(), f"figures/{name}.pdf": to_pdf(drawn)}


def _with_bands(drawing: Drawing, bands: Mapping[str, Band], name: str = "") -> Drawing:
    """Add the drawing's lines as a CSV file."""
    rows = [
        (variant, x, estimate, low, high)
        for variant, band in bands.items()
        for x, estimate, low, high in zip(
            band.x.tolist(),
            band.estimate.tolist(),
            [None] * band.x.size if band.low is None else band.low.tolist(),
            [None] * band.x.size if band.high is None else band.high.tolist(),
            strict=True,
        )
    ]
    content = csv_text(("variant", "x", "estimate", "low", "high"), rows)
    return drawing._replace(files={**drawing.files, f"tables/{name or drawing.name}.csv": content.encode()})


def _ends(bands: Mapping[str, Band]) -> str:
    return "; ".join(f"{variant} ends at {band.estimate[-1]:.3g}" for variant, band in bands.items())
