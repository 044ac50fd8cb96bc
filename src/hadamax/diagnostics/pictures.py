"""Figures of representations, as PNG. Colours are Okabe and Ito's; line styles, markers and labels differ too."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator
from scipy.stats import gaussian_kde

from hadamax.diagnostics.density import kde_peak_density
from hadamax.diagnostics.health import DEAD_PEAK
from hadamax.diagnostics.rank import effective_rank, singular_values
from hadamax.diagnostics.records import Sample
from hadamax.diagnostics.signs import DEAD
from hadamax.plotting import BLUE, COLOURS, GREY, MARKERS, VERMILLION

STYLES = {"output": "-", "product": "--", "sum": "--", "before pool": "--", "branch 2": "-."}  # other branches: dotted
MILLION = 1e6
NOISE = 1e-5
LEGEND_ROWS = 6  # rows that fit without enlarging the figure
SMALLEST = 1e-7  # fraction of the spectrum below which values are rounding errors and not drawn

Row = Mapping[str, str]


def draw_densities(sample: Sample, title: str, seed: int = 0) -> bytes:
    """Draw the densities of up to 16 units, evenly spread over the layer; dead ones outlined. HR Fig. 3 and 10."""
    values = sample.activations.detach().float().cpu()
    units = np.unique(np.linspace(0, values.shape[1] - 1, 16).round().astype(int))
    peaks = kde_peak_density(values, NOISE, torch.Generator().manual_seed(seed))
    dead = int((peaks >= DEAD_PEAK).sum())
    noise = NOISE**0.5 * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
    lowest = values.amin(dim=0)
    # Relative to the lowest value: rounding of large values would remove the noise.
    noisy = (values.double() - lowest + noise).numpy()
    figure = _figure(9, 8, layout=None)  # constrained layout of 16 panels is slow
    counts = "" if all(map(math.isfinite, sample.range)) else "; meaningful for bounded activations only"
    lines = [title, f"{sample.name}: {dead} of {values.shape[1]} units dead by density"]
    heading = _wrapped([*lines, f"outlined: peak 20 or more{counts}"], 85)
    figure.suptitle(heading, fontsize=11)
    top = 0.94 - 0.023 * (heading.count("\n") + 1)
    figure.subplots_adjust(left=0.08, right=0.985, bottom=0.075, top=top, hspace=0.42, wspace=0.3)
    columns = math.ceil(len(units) ** 0.5)
    grid = figure.subplots(math.ceil(len(units) / columns), columns, squeeze=False).flatten()
    for axes, unit in zip(grid, units, strict=False):
        _draw_density(axes, noisy[:, unit], float(lowest[unit]), sample.range, int(unit), float(peaks[unit]))
    for axes in grid[len(units) :]:
        axes.set_visible(False)
    figure.supxlabel("activation")
    figure.supylabel("density (1 / activation)")
    return _png(figure)


def _draw_density(axes: Axes, above: Any, lowest: float, range_: tuple[float, float], unit: int, peak: float) -> None:
    """Draw one unit's density; `above` are the samples minus `lowest`, their minimum."""
    low, high = _view(above + lowest, range_)
    # Points within the samples' range too, since a narrow peak would fall between the points of an even grid.
    needle = np.linspace(above.min(), above.max(), 300)
    places = np.sort(np.concatenate([np.linspace(low, high, 300) - lowest, needle]))
    density = gaussian_kde(above)(places)
    places = places + lowest
    dead = peak >= DEAD_PEAK
    axes.plot(places, density, color=VERMILLION if dead else BLUE, linewidth=1.2)
    axes.fill_between(places, density, color=VERMILLION if dead else BLUE, alpha=0.25, linewidth=0)
    axes.set_title(f"unit {unit}: peak {peak:.3g}{', dead' if dead else ''}", fontsize=8.5)
    axes.set_xlim(low, high)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if dead:
        for spine in axes.spines.values():
            spine.set(color=VERMILLION, linewidth=2.5)


def _view(samples: Any, range_: tuple[float, float]) -> tuple[float, float]:
    """Return the x limits: a bounded range with a margin, else the samples' range with a minimum width."""
    if all(map(math.isfinite, range_)):
        low, high = range_
    else:
        middle = (samples.min() + samples.max()) / 2
        half = max(np.ptp(samples) / 2, 0.1, 1e-6 * abs(middle))
        low, high = float(middle - half), float(middle + half)
    room = 0.08 * (high - low)
    return low - room, high + room


def draw_spectra(samples: Sequence[Sample], title: str) -> bytes:
    """Draw the singular values of each layer's output as fractions of their sum; a marker at the effective rank."""
    figure = _figure(9, 5.4)
    axes = figure.add_subplot()
    for index, sample in enumerate(sample for sample in samples if sample.part == "output"):
        features = sample.activations if sample.maps is None else sample.maps
        if min(features.shape) < 2 or not features.any():
            continue
        values = singular_values(features)
        values = values / values.sum()
        rank = effective_rank(features)
        kind = "" if sample.maps is None else " (map)"
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        order = np.arange(1, len(values) + 1)
        shown = np.where(values > SMALLEST, values, np.nan)
        label = f"{sample.name}{kind}: effective rank {rank} of {len(values)}"
        axes.plot(order, shown, color=colour, linewidth=1.6, marker=marker, markevery=[rank - 1], label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(LogFormatter())  # 1, 10, 100 instead of powers
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.set_xlabel("number of the singular value, largest first")
    axes.set_ylabel("singular value / sum of all")
    _dress(figure, axes, title)
    return _png(figure)


def draw_ranks(rows: Sequence[Row], title: str) -> bytes:
    """Draw each layer's effective rank (of its map, if it has one) over training, from rows of `diagnostics.csv`."""
    outputs = [row for row in rows if row["part"] == "output"]
    return _draw_curves(outputs, ("map_rank", "effective_rank"), "effective rank (convolutions: of the map)", title)


def draw_dead(rows: Sequence[Row], column: str, label: str, title: str) -> bytes:
    """Draw the percentage of dead units of each part of each layer over training, from the given column."""
    return _draw_curves(rows, (column,), label, title, percent=True)


def _draw_curves(rows: Sequence[Row], columns: Sequence[str], label: str, title: str, percent: bool = False) -> bytes:
    """Draw fixed and fresh observations side by side; of each row the first of `columns` that has a value."""
    figure = _figure(11, 5.6)
    panels = figure.subplots(1, 2, sharey=True)
    layers = list(dict.fromkeys(row["layer"] for row in rows if _number(row, columns) is not None))
    highest = 5.0
    for axes, kind in zip(panels, ("fixed", "fresh"), strict=True):
        lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for row in rows:
            number = _number(row, columns)
            if row["observations"] == kind and number is not None:
                lines.setdefault((row["layer"], row["part"]), []).append((float(row["frame"]) / MILLION, number))
        for (layer, part), points in lines.items():
            index = layers.index(layer)
            x, y = np.array(points).T * [[1], [100 if percent else 1]]
            highest = max(highest, float(y.max()))
            axes.plot(
                x,
                y,
                STYLES.get(part, ":"),
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=3.5,
                linewidth=1.6,
                label=layer if part == "output" else f"{layer} {part}",
            )
        axes.set_title(f"{kind} observations", fontsize=10)
        axes.set_xlabel("emulator frames, millions")
        if percent:
            axes.axhline(100 * DEAD, color=GREY, linewidth=1, dashes=(6, 4), label=f"warning threshold: {DEAD:.0%}")
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(0, max(1.05 * highest, 120 * DEAD if percent else 0))
    panels[0].set_ylabel(label)
    _dress(figure, panels[0], title)
    return _png(figure)


def _number(row: Row, columns: Sequence[str]) -> float | None:
    found = next((row[column] for column in columns if row.get(column)), "")
    return float(found) if found and row["part"] != "weights" else None


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), dpi=120, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _wrapped(lines: Sequence[str], width: int) -> str:
    """Wrap each line to `width` characters, so that it is not cut off at the edges."""
    return "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in lines)


def _dress(figure: Figure, axes: Axes, title: str) -> None:
    figure.suptitle(_wrapped([title], 70), fontsize=12, fontweight="bold")
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = 2 if max(map(len, labels)) < 60 else 1
        place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "handlelength": 3.5}
        figure.legend(handles, labels, **place, fontsize=8, frameon=False)
        more = math.ceil(len(labels) / columns) - LEGEND_ROWS
        if more > 0:  # enlarge the figure instead of shrinking the axes
            figure.set_figheight(figure.get_figheight() + 0.16 * more)


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
