"""Figures of curves: panels, each with a measure of some variants during training, with shaded intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hadamax.errors import UserError
from hadamax.papers.measures import MEASURES, Drawn, raw_scores
from hadamax.papers.output import Output, Row, figure, format_frame_axes, png, style_of, with_interval
from hadamax.papers.runs import MissingRuns, Need, protocol_of, scale_of, seeds_of, variants_of
from hadamax.studies.collect import Run
from hadamax.studies.statistics import Band, common_frames, sample_efficiency

POINTS = 60
FEW = 12  # up to this number, measurements have markers
INTERVALS = "intervals: 95%, stratified bootstrap over seeds (the papers shade standard deviations)"


class Panel(NamedTuple):
    """A panel of a figure."""

    title: str
    measure: str  # of MEASURES
    need: Need
    baseline: str = "relu"

    def runs(self, found: Mapping[str, Sequence[Run]]) -> list[Run]:
        """Return the panel's runs among those of its study."""
        return [
            run for run in found.get(self.need.study, ()) if not self.need.variants or run.variant in self.need.variants
        ]


class Request(NamedTuple):
    """Request for a figure: its name, title and runs."""

    name: str
    title: str
    found: Mapping[str, Sequence[Run]]  # by study
    seeds: int | None


def draw_panels(request: Request, panels: Sequence[Panel], published: str, choices: Sequence[str] = ()) -> Output:
    """Draw all panels that have runs, side by side, and tabulate their curves.

    Raises:
        UserError: no panel has runs.
    """
    filled = [(panel, panel.runs(request.found)) for panel in panels]
    notes = [f"panel {panel.title!r} is omitted: it has no runs" for panel, runs in filled if not runs]
    filled = [(panel, runs) for panel, runs in filled if runs]
    if not filled:
        raise UserError(f"runs: there are no runs for any panel of {request.name}")
    measured: dict[Panel, tuple[dict[str, Band], Drawn]] = {}
    problems: list[UserError] = []
    for panel, runs in filled:
        try:
            drawn = MEASURES[panel.measure](runs, panel.baseline)
            measured[panel] = _bands(drawn), drawn
        except UserError as error:
            if panel.measure.startswith(("dead", "rank")):
                raise
            # Without a baseline or a finished game there is no score, but the other panels can be drawn.
            problems.append(error)
            notes.append(f"panel {panel.title!r} is omitted: {error}")
    filled = [(panel, runs) for panel, runs in filled if panel in measured]
    if not filled:
        raise problems[0]
    columns = min(len(filled), 4)
    height = 4.4 * math.ceil(len(filled) / columns)
    made = figure(max(4.3 * columns, 6.5), height + 0.9)
    axes = made.subplots(math.ceil(len(filled) / columns), columns, squeeze=False).flatten()
    rows: list[Row] = []
    said: list[str] = []
    chosen = dict.fromkeys(choices)
    variants = list(dict.fromkeys(v for panel, runs in filled for v in _order(panel, runs)))
    for place, (panel, runs) in zip(axes, filled, strict=False):
        bands, drawn = measured[panel]
        chosen |= dict.fromkeys(drawn.choices)
        missing = [v for v in variants_of(panel.need) if v not in drawn.curves]
        if missing:
            notes.append(f"panel {panel.title!r} omits {', '.join(missing)}, which have no runs")
        order = [v for v in variants if v in bands]
        for variant in order:
            _draw_band(place, bands[variant], variant, variants.index(variant))
        format_frame_axes(place, f"{panel.title}, {runs[0].algorithm.upper()}", drawn.label)
        if panel.measure.startswith(("dead", "rank")):
            place.set_ylim(bottom=0)
        rows += [row for v in order for row in _rows(panel.title, drawn.label, v, bands[v], drawn)]
        said.append(f"{panel.title}: " + ", ".join(_final(v, bands[v]) for v in order))
        notes += [f"panel {panel.title!r}: {bands[v].note}" for v in order if bands[v].note]
    for place in axes[len(filled) :]:
        place.set_visible(False)
    _add_legend(made, axes)
    everything = [run for _, runs in filled for run in runs]
    groups = dict.fromkeys(protocol_of(runs) for _, runs in filled)
    protocol = "; ".join(groups) if len(groups) < 3 else next(iter(groups))
    here = dict.fromkeys(drawn.instead for _, drawn in measured.values() if drawn.instead)
    here |= dict.fromkeys(scale for panel, runs in filled if (scale := scale_of(runs, panel.need)))
    title = f"{request.name}: {request.title}" + (f"; here: {'; '.join(here)}" if here else "")
    return Output(
        png(made, title, protocol),
        rows,
        published,
        "; ".join(said),
        protocol,
        seeds_of(everything),
        [*chosen, INTERVALS],
        list(dict.fromkeys(notes)),
    )


def draw_games(request: Request, need: Need, part: tuple[int, int], published: str) -> Output:
    """Draw raw scores game by game, for part i of n of the games in alphabetical order."""
    every = [run for run in request.found[need.study] if not need.variants or run.variant in need.variants]
    games = sorted({run.game for run in every})
    notes = []
    if len(games) > part[1]:
        games = list(np.array_split(np.array(games), part[1])[part[0] - 1])
    elif part[1] > 1:
        notes.append(f"each of the {part[1]} parts shows all games, since there are only {len(games)}")
    runs = [run for run in every if run.game in games]
    if not runs:
        raise MissingRuns(f"runs: there are no runs of {', '.join(variants_of(need))}, the variants of {request.name}")
    drawn = raw_scores(runs)
    columns = min(len(games), 4)
    lines = math.ceil(len(games) / columns)
    made = figure(max(3.6 * columns, 6), 3.1 * lines + 1)
    axes = made.subplots(lines, columns, squeeze=False).flatten()
    rows: list[Row] = []
    variants = [v for v in (need.variants or sorted(drawn.curves)) if v in drawn.curves]
    said = []
    for place, game in zip(axes, games, strict=False):
        finals = []
        for number, variant in enumerate(variants):
            if game not in drawn.curves[variant]:
                continue
            band = _band(drawn._replace(curves={variant: {game: drawn.curves[variant][game]}}), variant)
            _draw_band(place, band, variant, number)
            rows += _rows(str(game), drawn.label, variant, band, drawn)
            finals.append(_final(variant, band))
            notes += [band.note] if band.note else []
        format_frame_axes(place, str(game), drawn.label)
        said.append(f"{game}: {', '.join(finals)}")
    for place in axes[len(games) :]:
        place.set_visible(False)
    _add_legend(made, axes)
    scale = scale_of(runs, need)
    title = f"{request.name}: {request.title}" + (f"; here: {scale}" if scale else "")
    return Output(
        png(made, title, protocol_of(runs)),
        rows,
        published,
        "; ".join(said),
        protocol_of(runs),
        seeds_of(runs),
        [*drawn.choices, INTERVALS],
        list(dict.fromkeys(notes)),
    )


def _order(panel: Panel, runs: Sequence[Run]) -> list[str]:
    """Return the variants in the study's order, followed by unknown ones by name."""
    present = sorted({run.variant for run in runs})
    return [v for v in panel.need.variants if v in present] + [v for v in present if v not in panel.need.variants]


def _bands(drawn: Drawn) -> dict[str, Band]:
    return {variant: _band(drawn, variant) for variant in drawn.curves}


def _band(drawn: Drawn, variant: str) -> Band:
    games = drawn.curves[variant]
    try:
        return sample_efficiency(games, np.unique(common_frames(games, POINTS)), drawn.function)
    except ValueError as error:
        raise UserError(f"runs: {variant}: {error}") from None


def _draw_band(axes: Axes, band: Band, variant: str, number: int) -> None:
    style = style_of(variant, number)
    marker = style.marker if len(band.x) <= FEW else ""
    axes.plot(
        band.x, band.estimate, linestyle=style.dash, color=style.colour, marker=marker, linewidth=1.8, label=style.label
    )
    if band.low is not None and band.high is not None:
        axes.fill_between(band.x, band.low, band.high, color=style.colour, alpha=0.18, linewidth=0)


def _add_legend(made: Figure, axes: Iterable[Axes]) -> None:
    """Add one legend for all axes, with markers for variants that have them in some panel."""
    handles: dict[str, Line2D] = {}
    for line in (line for place in axes for line in place.lines):
        label = str(line.get_label())
        if not label.startswith("_") and (label not in handles or handles[label].get_marker() in ("", "None")):
            handles[label] = line
    columns = min(len(handles), 5, max(int(made.get_figwidth() / 2), 1))
    made.legend(handles.values(), handles, loc="outside lower center", ncols=columns, frameon=False)


def _rows(panel: str, measure: str, variant: str, band: Band, drawn: Drawn) -> list[Row]:
    games = drawn.curves[variant]
    number = {"games": len(games), "runs": sum(map(len, games.values()))}
    low = band.low if band.low is not None else [None] * len(band.x)
    high = band.high if band.high is not None else [None] * len(band.x)
    return [
        {"panel": panel, "measure": measure, "variant": variant, "frame": int(x), "value": y, "low": a, "high": b}
        | number
        for x, y, a, b in zip(band.x, band.estimate.tolist(), low, high, strict=True)
    ]


def _final(variant: str, band: Band) -> str:
    low = None if band.low is None else float(band.low[-1])
    high = None if band.high is None else float(band.high[-1])
    return f"{style_of(variant, 0).label} {with_interval(float(band.estimate[-1]), low, high)}"
