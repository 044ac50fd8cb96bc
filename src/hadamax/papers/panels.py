"""Figures of curves: panels, each a measure of some variants along training, with shaded intervals."""

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
from hadamax.papers.output import Output, Row, with_interval
from hadamax.papers.runs import MissingRuns, Need, protocol_of, seeds_of, variants_of
from hadamax.papers.style import dress_frames, figure, look, png
from hadamax.studies.collect import Run
from hadamax.studies.statistics import Band, common_frames, sample_efficiency

POINTS = 60
FEW = 12  # measurements that are marked one by one
INTERVALS = "intervals: 95%, stratified bootstrap over seeds (the papers shade standard deviations)"


class Panel(NamedTuple):
    """One set of axes."""

    title: str
    measure: str  # of MEASURES
    need: Need
    baseline: str = "relu"

    def runs(self, found: Mapping[str, Sequence[Run]]) -> list[Run]:
        """Of this panel, among those found for its study."""
        return [
            run for run in found.get(self.need.study, ()) if not self.need.variants or run.variant in self.need.variants
        ]


class Asked(NamedTuple):
    """What a figure is made of and for."""

    name: str
    title: str
    found: Mapping[str, Sequence[Run]]  # by study
    seeds: int | None


def draw_panels(asked: Asked, panels: Sequence[Panel], published: str, choices: Sequence[str] = ()) -> Output:
    """All panels that have runs, side by side; and a table of their curves.

    Raises:
        UserError: none has.
    """
    filled = [(panel, panel.runs(asked.found)) for panel in panels]
    notes = [f"panel {panel.title!r} is left out: it has no runs" for panel, runs in filled if not runs]
    filled = [(panel, runs) for panel, runs in filled if runs]
    if not filled:
        raise UserError(f"runs: there is none for any panel of {asked.name}")
    measured: dict[Panel, tuple[dict[str, Band], Drawn]] = {}
    problems: list[UserError] = []
    for panel, runs in filled:
        try:
            drawn = MEASURES[panel.measure](runs, panel.baseline)
            measured[panel] = _bands(drawn), drawn
        except UserError as error:
            if panel.measure.startswith(("dead", "rank")):
                raise
            # Without a baseline, or a game that ended, there is no score, but all else.
            problems.append(error)
            notes.append(f"panel {panel.title!r} is left out: {error}")
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
            notes.append(f"panel {panel.title!r} lacks {', '.join(missing)}: there are no runs of them")
        order = [v for v in variants if v in bands]
        for variant in order:
            _draw_band(place, bands[variant], variant, variants.index(variant))
        dress_frames(place, f"{panel.title}, {runs[0].algorithm.upper()}", drawn.label)
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
    instead = dict.fromkeys(drawn.instead for _, drawn in measured.values() if drawn.instead)
    title = "; here: ".join([f"{asked.name}: {asked.title}", *instead])
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


def draw_games(asked: Asked, need: Need, part: tuple[int, int], published: str) -> Output:
    """Raw scores game by game, of the i-th of n parts of the games in alphabetical order."""
    every = [run for run in asked.found[need.study] if not need.variants or run.variant in need.variants]
    games = sorted({run.game for run in every})
    notes = []
    if len(games) > part[1]:
        games = list(np.array_split(np.array(games), part[1])[part[0] - 1])
    elif part[1] > 1:
        notes.append(f"all games are in each of the {part[1]} parts: there are only {len(games)}")
    runs = [run for run in every if run.game in games]
    if not runs:
        raise MissingRuns(f"runs: there is none of {', '.join(variants_of(need))}, the variants of {asked.name}")
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
        dress_frames(place, str(game), drawn.label)
        said.append(f"{game}: {', '.join(finals)}")
    for place in axes[len(games) :]:
        place.set_visible(False)
    _add_legend(made, axes)
    return Output(
        png(made, f"{asked.name}: {asked.title}", protocol_of(runs)),
        rows,
        published,
        "; ".join(said),
        protocol_of(runs),
        seeds_of(runs),
        [*drawn.choices, INTERVALS],
        list(dict.fromkeys(notes)),
    )


def _order(panel: Panel, runs: Sequence[Run]) -> list[str]:
    """Variants in the study's order, unknown ones after them by name."""
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
    style = look(variant, number)
    marker = style.marker if len(band.x) <= FEW else ""
    axes.plot(
        band.x, band.estimate, linestyle=style.dash, color=style.colour, marker=marker, linewidth=1.8, label=style.label
    )
    if band.low is not None and band.high is not None:
        axes.fill_between(band.x, band.low, band.high, color=style.colour, alpha=0.18, linewidth=0)


def _add_legend(made: Figure, axes: Iterable[Axes]) -> None:
    """One for all axes; each variant as it stands where it is marked, if it is."""
    handles: dict[str, Line2D] = {}
    for line in (line for place in axes for line in place.lines):
        label = str(line.get_label())
        if not label.startswith("_") and (label not in handles or handles[label].get_marker() in ("", "None")):
            handles[label] = line
    made.legend(handles.values(), handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False)


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
    return f"{look(variant, 0).label} {with_interval(float(band.estimate[-1]), low, high)}"
