"""Learning curve of a run: raw returns against frames, one series for each source of games."""

from __future__ import annotations

import io
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hadamax.environments import EnvironmentSettings
from hadamax.errors import UserError
from hadamax.files import write_atomically
from hadamax.plotting import BLUE, GREEN, GREY, VERMILLION
from hadamax.published import random_and_human
from hadamax.runs.folder import RunFolder
from hadamax.runs.logs import read_csv
from hadamax.runs.settings import read_toml

if TYPE_CHECKING:  # imported on drawing, to keep start-up fast
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

WINDOW = 100  # games averaged per point, fewer in a short run
POINTS = 400  # of a line
MOST_DOTS = 3000
MILLION = 1e6


class Series(NamedTuple):
    """Games of one source, in the order of their ends."""

    frames: Array
    returns: Array

    @property
    def window(self) -> int:
        """Games averaged per point: a tenth of all, from 1 to `WINDOW`."""
        return max(1, min(WINDOW, len(self.frames) // 10))

    def smoothed(self) -> tuple[Array, Array, Array, Array]:
        """Return frames, and mean, 10th and 90th percentile of the `window` games around each point."""
        n, window = len(self.frames), self.window
        starts = np.unique(np.linspace(0, n - window, POINTS).astype(int))
        parts = [slice(start, start + window) for start in starts]
        means = np.array([self.returns[part].mean() for part in parts])
        percentiles = np.array([np.percentile(self.returns[part], (10, 90)) for part in parts])
        frames = np.array([self.frames[part].mean() for part in parts])
        return frames, means, percentiles[:, 0], percentiles[:, 1]

    def split(self, frames: list[float]) -> list[Series]:
        """Split at frames; parts without games are left out."""
        edges = [0, *np.searchsorted(self.frames, frames), len(self.frames)]
        return [Series(self.frames[a:b], self.returns[a:b]) for a, b in pairwise(edges) if b > a]


def draw_curve(run: Path, out: Path) -> Path:
    """Draw the learning curve of the run in folder `run` to the PNG `out`; missing data are left out.

    Training games are a line (the mean of the games around a point) on the band between their 10th and 90th
    percentile; greedy test games another line; the final evaluation a point with its 95% interval.

    Raises:
        UserError: no such folder, or a `config.toml` that cannot be read.
        OSError: `out` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not run.is_dir():
        raise UserError(f"run: {run} is not a folder")
    folder = RunFolder(run)
    config = read_toml(folder.config) if folder.config.exists() else {}
    environment = EnvironmentSettings(env=config.get("environment", {}).get("env", ""))
    game = environment.game
    figure = Figure(figsize=(9, 5.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    visits = visits_of(config, environment.games)
    drawn = _draw_games(axes, folder, [end for _, end in visits])
    drawn |= _draw_evaluation(axes, folder, config.get("protocol", {}).get("fingerprint"))
    _draw_published(axes, game)
    _dress(figure, axes, folder, config, game, drawn)
    _draw_visits(axes, visits)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, picture.getvalue())
    return out


def read_games(path: Path) -> dict[str, Series]:
    """Return the games in an `episodes.csv` by source."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in read_csv(path):
        found.setdefault(row["source"], []).append((float(row["frame"]), float(row["raw_return"])))
    return {source: Series(*np.array(games).T) for source, games in found.items()}


def visits_of(config: dict[str, Any], games: tuple[str, ...]) -> list[tuple[str, float]]:
    """Return the games of a sequence and the frame at which each ends; none for a run of one game."""
    run = config.get("run", {})
    number = len(games) * int(run.get("cycles", 1))
    frames = int(run.get("frames", 0)) // number
    return [(games[i % len(games)], float((i + 1) * frames)) for i in range(number)] if len(games) > 1 else []


def _draw_visits(axes: Axes, visits: list[tuple[str, float]]) -> None:
    """Separate the games of a sequence by lines, with their names on top."""
    before = 0.0
    for game, end in visits:
        name = game.removeprefix("MinAtar/").removesuffix("-v1")
        place = (before + end) / 2 / MILLION, 1.0
        axes.text(*place, name, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8, color=GREY)
        axes.axvline(end / MILLION, color=GREY, linewidth=0.8, zorder=0)
        before = end


def _draw_games(axes: Axes, folder: RunFolder, ends: list[float]) -> bool:
    """Draw the games of each source; those of a sequence are averaged between its `ends` only."""
    games = read_games(folder.episodes)
    for source, name, colour, style in (
        ("training", "training games, exploring", BLUE, "-"),
        ("test", "test games, greedy", VERMILLION, "-."),
    ):
        series = games.get(source)
        if series is None:
            continue
        for part, visit in enumerate(series.split(ends[:-1])):
            _draw_series(axes, visit, source, name if part == 0 else "", colour, style)
    return bool(games)


def _draw_series(axes: Axes, series: Series, source: str, name: str, colour: str, style: str) -> None:
    """Draw dots, the smoothed line and, of training games, the band; without a name, without a label."""
    dots = slice(None, None, math.ceil(len(series.frames) / MOST_DOTS))
    x, y = series.frames[dots] / MILLION, series.returns[dots]
    axes.plot(x, y, ".", color=colour, alpha=0.25, markersize=4, markeredgewidth=0, zorder=1)
    frames, mean, low, high = series.smoothed()
    label = f"{name}: mean of {series.window}" if series.window > 1 else name
    if source == "training" and series.window > 1:
        axes.fill_between(frames / MILLION, low, high, color=colour, alpha=0.2, linewidth=0, zorder=2)
        label += ", band 10th to 90th percentile"
    axes.plot(
        frames / MILLION,
        mean,
        style,
        color=colour,
        linewidth=2,
        zorder=4,
        label=label if name else None,
        marker="o" if len(frames) < 20 else None,
        markersize=4,
    )


def _draw_evaluation(axes: Axes, folder: RunFolder, fingerprint: str | None) -> bool:
    if not folder.evaluation.exists():
        return False
    try:
        report = json.loads(folder.evaluation.read_bytes())
        frame, agent = float(report["frame"]), report["agent"]
        mean, interval, n = float(agent["mean"]), agent.get("ci95"), len(agent["returns"])
    except (ValueError, KeyError, TypeError):  # a killed run, or another version
        return False
    label = f"final evaluation: mean of {n} game{'s' * (n > 1)}"
    spread = None
    if interval and all(map(math.isfinite, interval)):
        spread = [[mean - interval[0]], [interval[1] - mean]]
        label += ", 95% interval"
    if report.get("fingerprint", fingerprint) != fingerprint:
        label += f", protocol {report['fingerprint']}"
    axes.errorbar(
        [frame / MILLION],
        [mean],
        yerr=spread,
        fmt="D",
        color=GREEN,
        markersize=7,
        capsize=5,
        elinewidth=2,
        markeredgecolor="white",
        zorder=5,
        label=label,
    )
    return True


def _draw_published(axes: Axes, game: str) -> None:
    """Draw dashed lines; a score that would squeeze the curve to a third of the height is in the legend only."""
    bottom, top = axes.get_ylim()
    span = max(top - bottom, 1e-9)
    scores = random_and_human(game)
    if scores is None:
        return
    empty = not axes.has_data()
    for name, score, dashes in zip(("random", "human"), scores, ((2, 2), (7, 3)), strict=True):
        fits = empty or max(top, score) - min(bottom, score) <= 3 * span
        label = f"published {name}: {score:,.1f}" + ("" if fits else " (off the picture)")
        heights, whole_width = [score if fits else math.nan] * 2, axes.get_yaxis_transform()
        axes.plot((0, 1), heights, transform=whole_width, color=GREY, dashes=dashes, label=label)


def _dress(figure: Figure, axes: Axes, folder: RunFolder, config: dict[str, Any], game: str, drawn: bool) -> None:
    """Add titles, labels and legend."""
    network, run = config.get("network", {}), config.get("run", {})
    number = game.count(",") + 1
    parts = [
        f"{number} games in sequence" if number > 1 else game or folder.path.name,
        network.get("encoder"),
        config.get("algorithm"),
    ]
    parts += [f"seed {run['seed']}"] if "seed" in run else []
    figure.suptitle(", ".join(part for part in parts if part), fontsize=14, fontweight="bold")
    fingerprint = config.get("protocol", {}).get("fingerprint")
    if fingerprint:
        axes.set_title(f"protocol fingerprint {fingerprint}", fontsize=9, color=GREY)
    if not drawn:
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "no game has finished yet", color=GREY, **place)
    rows = read_csv(folder.metrics)
    frames = max([float(rows[-1]["frame"]) / MILLION if rows else 0.0, axes.dataLim.x1 if drawn else 0.0])
    axes.set_xlim(0, frames * 1.02 or 1)
    axes.set_xlabel("emulator frames, millions")
    axes.set_ylabel("raw return of a whole game")
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    entries = list(zip(*axes.get_legend_handles_labels(), strict=True))
    entries.sort(key=lambda entry: "published" in entry[1])
    if entries:
        handles, labels = zip(*entries, strict=True)
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
