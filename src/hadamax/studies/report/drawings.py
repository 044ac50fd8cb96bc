"""All figures of a report, each as SVG and PDF files and as SVG for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from hadamax.studies.collect import Run
from hadamax.studies.report import figures
from hadamax.studies.report.analysis import CURVE_REPLICATES, POINTS, Analysis, Bands, series
from hadamax.studies.report.evidence import Evidence
from hadamax.studies.report.health import Health
from hadamax.studies.report.style import for_page, to_pdf, to_svg
from hadamax.studies.report.table import csv_text, in_words
from hadamax.studies.scores import Array
from hadamax.studies.statistics import Band, common_frames, sample_efficiency
from hadamax.studies.statistics.bootstrap import mean

THIN = 80  # maximum number of points of a run's line


class Drawing(NamedTuple):
    """A figure by name: SVG for the page, and files by path."""

    name: str
    svg: str
    files: dict[str, bytes]


Files = dict[str, bytes]
Points = tuple[Array, Array]


def draw(evidence: Evidence, analysis: Analysis, health: Mapping[Path, Health]) -> Iterator[Drawing]:
    """Draw all figures that have data."""
    for scale in evidence.scales:
        table = analysis.intervals[scale.key]
        about = "; ".join(f"{variant}: IQM {in_words(found['iqm'])}" for variant, found in table.items())
        yield _drawing(
            f"aggregates-{scale.key}", figures.intervals(table, scale.name), f"Aggregates of the {scale.name}", about
        )
    if analysis.improvement:
        about = "; ".join(f"{variant}: {in_words(found)}" for variant, found in analysis.improvement.items())
        numbers = {variant: number for number, variant in enumerate(evidence.variants)}
        drawn = figures.improvement(analysis.improvement, evidence.baseline, numbers)
        yield _drawing("improvement", drawn, f"Probability of improvement over {evidence.baseline}", about)
    name = evidence.scales[0].name if evidence.scales else ""
    for key, bands, x, y, unit in (
        ("profile", analysis.profiles, f"{name} (t)", "fraction of runs with a score above t", 1.0),
        ("sample-efficiency", analysis.by_frames, "million frames", f"IQM, {name}", figures.MILLION),
        ("time-efficiency", analysis.by_hours, "hours of training", f"IQM, {name}", 1.0),
    ):
        if bands:
            drawn = figures.bands(bands, x, y, variants=evidence.variants, scale=unit)
            yield _with_bands(_drawing(key, drawn, f"{y} by {x}", _ends(bands)), bands)
    yield from _health(evidence, health)
    rows = game_rows(evidence)
    if rows:
        files = _files("games", figures.games_grid(rows, evidence.variants))
        yield Drawing("games", "", files)


def _health(evidence: Evidence, health: Mapping[Path, Health]) -> Iterator[Drawing]:
    rank = _along(evidence, lambda run: health[run.path].rank if run.path in health else _none())
    dead = _along(evidence, lambda run: health[run.path].dead if run.path in health else _none())
    panels = [("effective rank, last hidden layer", rank), ("dead units, last hidden layer", dead)]
    panels = [(title, bands) for title, bands in panels if bands]
    if panels:
        drawn = figures.along(panels, evidence.variants)
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
        drawn = figures.scatter(found, evidence.variants, scale.name)
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
        drawn = figures.single_game(rows, evidence.variants)
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
