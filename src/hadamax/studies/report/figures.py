"""Matplotlib figures of a report, sized for a paper; the page shows the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hadamax.studies.report.style import MUTED, PAPER, style_of
from hadamax.studies.scores import Array
from hadamax.studies.statistics import Band, Interval

WIDTH = 6.8  # inches: a paper's text width
MILLION = 1e6
LEGEND_COLUMNS = 4
FAR = 20.0  # maximum score above which a scatter plot's axis is logarithmic
TITLES = {"median": "Median", "iqm": "IQM", "mean": "Mean", "optimality_gap": "Optimality gap ↓"}
Rows = Mapping[str, Sequence[tuple[Array, Array]]]  # {variant: [(x, y) of each run]}


def figure(width: float = WIDTH, height: float = 2.8, **how: Any) -> Figure:
    with matplotlib.rc_context(PAPER):
        return Figure(figsize=(width, height), layout=how.pop("layout", "constrained"), **how)


def intervals(table: Mapping[str, Mapping[str, Interval]], axis: str) -> Figure:
    """Draw a panel per aggregate with a row per variant."""
    with matplotlib.rc_context(PAPER):
        drawn = figure(height=0.95 + 0.24 * len(table))
        panels = drawn.subplots(1, len(TITLES), sharey=True)
        for axes, (name, title) in zip(panels, TITLES.items(), strict=True):
            _rows(axes, {variant: row[name] for variant, row in table.items()})
            axes.set_title(title, loc="left", fontsize=8)
        drawn.supxlabel(axis, fontsize=9)
    return drawn


def improvement(table: Mapping[str, Interval], baseline: str, numbers: Mapping[str, int]) -> Figure:
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


def bands(
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


def along(panels: Sequence[tuple[str, Mapping[str, Band]]], variants: Sequence[str]) -> Figure:
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


def scatter(panels: Sequence[tuple[str, Mapping[str, Array]]], variants: Sequence[str], y_label: str) -> Figure:
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


def game(axes: Axes, rows: Rows, variants: Sequence[str], *, labels: bool = True) -> None:
    """Draw a game's curves: thin lines for runs, a thick line for the mean over a variant's common frames."""
    for variant, curves in rows.items():
        style = style_of(variants.index(variant))
        for x, y in curves:
            axes.plot(x / MILLION, y, color=style.colour, linewidth=0.5, alpha=0.4)
        if len(curves) > 1:
            start, stop = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
            if start < stop:
                at = np.linspace(start, stop, 40)
                mean = np.mean([np.interp(at, x, y) for x, y in curves], axis=0)
                axes.plot(at / MILLION, mean, color=style.colour, linestyle=style.dashes, linewidth=1.7)
        elif curves:
            axes.plot(curves[0][0] / MILLION, curves[0][1], color=style.colour, linestyle=style.dashes, linewidth=1.4)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    axes.margins(x=0.01)
    if labels:
        axes.set_xlabel("million frames")


def games_grid(tables: Mapping[str, Rows], variants: Sequence[str], columns: int = 5) -> Figure:
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
            game(axes, rows, variants, labels=False)
            axes.set_title(name, loc="left", pad=2)
        for axes in panels[len(tables) :]:
            axes.remove()
        drawn.supxlabel("million frames", fontsize=7, y=0.05 / height)
        _legend(drawn, variants, place="upper center")
    return drawn


def single_game(rows: Rows, variants: Sequence[str]) -> Figure:
    """Draw one game's curves at a small size, for the page."""
    with matplotlib.rc_context({**PAPER, "axes.labelsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8}):
        drawn = Figure(figsize=(2.9, 1.75), layout=None)
        drawn.subplots_adjust(left=0.16, right=0.985, bottom=0.235, top=0.97)
        game(drawn.subplots(), rows, variants)
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
