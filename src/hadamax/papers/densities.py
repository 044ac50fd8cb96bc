"""HR Figures 3, 6, 10 and 11 (arXiv 2406.09079): densities of sixteen units of the last hidden layer, from checkpoints.

hadamax paper hr-figure-3 --runs runs/hr-densities
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from hadamax.agents.run_agent import load_run
from hadamax.diagnostics import Sample, kde_peak_density, observe
from hadamax.diagnostics.health import DEAD_PEAK
from hadamax.diagnostics.pictures import draw_densities
from hadamax.environments.play import play_observations
from hadamax.errors import UserError
from hadamax.papers.output import Output, figure, png
from hadamax.papers.panels import Request
from hadamax.papers.runs import MissingRuns, Need, protocol_of
from hadamax.runs import checkpoints
from hadamax.runs.folder import RunFolder
from hadamax.studies.collect import Run

OBSERVATIONS = 2048
EPSILON = 0.05
SEED = 4_000_000
GAME = "Breakout"  # the paper's game; another game is used if there are no runs of it
PAPER_FRAMES = 40_000_000


class Grid(NamedTuple):
    """Sixteen units of a variant's last hidden layer, or of an inner part of it, at one point of the training."""

    title: str
    variant: str
    part: str
    frames: int  # of the paper's 40M


def draw_grids(request: Request, grids: Sequence[Grid], need: Need, published: str) -> Output:
    """Draw the grids side by side, for the run with the lowest seed, and list each unit's peak.

    Raises:
        UserError: a variant has no run, or its run has no checkpoints.
    """
    runs = request.found[need.study]
    games = sorted({run.game for run in runs}, key=lambda game: (GAME not in game, game))
    by_variant = {run.variant: run for run in sorted(runs, key=lambda run: -run.seed) if run.game == games[0]}
    pictures, rows, said = [], [], []
    notes: list[str] = []
    used = []
    for grid in grids:
        if grid.variant not in by_variant:
            raise MissingRuns(f"runs: there are no runs of {grid.variant}, which {request.name} needs")
        run = by_variant[grid.variant]
        frame, sample = _sample(run, grid)
        used.append(run)
        peaks = kde_peak_density(sample.activations.float(), generator=torch.Generator().manual_seed(0)).numpy()
        dead = int((peaks >= DEAD_PEAK).sum())
        title = f"{grid.title}, {run.game}, {frame:,} frames"
        pictures.append(draw_densities(sample, title))
        said.append(f"{title}: {dead} of {len(peaks)} units dead")
        rows += [
            {
                "grid": grid.title,
                "game": run.game,
                "frame": frame,
                "part": sample.part,
                "unit": unit,
                "peak": float(peak),
            }
            | {"dead": bool(peak >= DEAD_PEAK)}
            for unit, peak in enumerate(peaks)
        ]
        wanted = grid.frames * run.settings.run.frames // PAPER_FRAMES
        if abs(frame - wanted) > 0.1 * wanted:
            notes.append(f"{grid.title}: the checkpoint nearest to frame {wanted:,} is at frame {frame:,}")
    return Output(
        _together(request, pictures, protocol_of(used)),
        rows,
        published,
        "; ".join(said),
        protocol_of(used),
        str(min(run.seed for run in used)),
        [
            f"{OBSERVATIONS:,} observations played by the agent with {EPSILON:.0%} random actions; sixteen units "
            "evenly spaced over the layer; densities drawn by scipy's gaussian_kde, dead units by HR B.1"
        ],
        notes,
    )


def _sample(run: Run, grid: Grid) -> tuple[int, Sample]:
    """Return the frame of the checkpoint nearest to the paper's, and the layer's activations there."""
    frames = sorted(checkpoints.frame_of(path) for path in checkpoints.newest_first(run.path / "checkpoints"))
    if not frames:
        raise MissingRuns(f"runs: {run.path} has no checkpoints, which the densities need")
    wanted = grid.frames * run.settings.run.frames / PAPER_FRAMES
    frame = min(frames, key=lambda frame: abs(frame - wanted))
    last, *others = _last_layer(run.path, frame)
    by_part = {sample.part: sample for sample in (last, *others)}
    if grid.part not in by_part:
        raise UserError(f"runs: the last hidden layer of {run.path} has no {grid.part}; it has {', '.join(by_part)}")
    return frame, by_part[grid.part]


@cache
def _last_layer(path: Path, frame: int) -> list[Sample]:
    """Record a checkpoint's last hidden layer on observations of its own play: its output, then its parts."""
    _, _, settings = RunFolder.open(path)
    agent = load_run(path, str(frame), device="cpu", say=lambda line: None)
    generator = torch.Generator().manual_seed(SEED)
    played = play_observations(
        lambda seen: agent.act(seen, EPSILON, generator),
        settings.environment,
        OBSERVATIONS,
        seed=SEED,
        threads=settings.run.threads or 1,
    )
    samples = observe(agent.network, torch.from_numpy(played), forward=agent.q_values, samples=OBSERVATIONS)
    last = [sample for sample in samples if sample.layer == samples[-1].layer]
    return sorted(last, key=lambda sample: sample.part != "output")


def _together(request: Request, pictures: Sequence[bytes], protocol: str) -> bytes:
    columns = min(len(pictures), 2)
    lines = -(-len(pictures) // columns)
    made = figure(9 * columns, 8 * lines + 0.5)
    grid = made.subplots(lines, columns, squeeze=False).flatten()
    for axes, picture in zip(grid, pictures, strict=False):
        axes.imshow(np.asarray(Image.open(io.BytesIO(picture))))
    for axes in grid:
        axes.set_axis_off()
    return png(made, f"{request.name}: {request.title}", protocol)
