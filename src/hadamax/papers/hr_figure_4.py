"""HR Figure 4 (arXiv 2406.09079): contributions of live and dead units of the last hidden layer to the Q-values.

hadamax paper hr-figure-4 --runs runs
"""

from __future__ import annotations

import numpy as np

from hadamax.errors import UserError
from hadamax.papers.measures import diagnostics
from hadamax.papers.output import BLUE, VERMILLION, Output, Row, figure, format_frame_axes, png, with_interval
from hadamax.papers.panels import FEW, INTERVALS, POINTS, Request
from hadamax.papers.runs import protocol_of, seeds_of
from hadamax.studies.statistics import common_frames, sample_efficiency
from hadamax.studies.statistics.bootstrap import mean

KINDS = {"output_live": ("live units", BLUE, "-"), "output_dead": ("dead units (hidden bias)", VERMILLION, "--")}


def figure_4(request: Request) -> Output:
    """Plot the averages over observations and actions, from the runs' own diagnostics."""
    runs = [run for run in request.found["hr-dqn"] if run.variant == "tanh"]
    made = figure(7, 4.8)
    axes = made.add_subplot()
    rows: list[Row] = []
    said = []
    for column, (label, colour, dash) in KINDS.items():
        curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for run in runs:
            points = [(f, float(v)) for f, layers in diagnostics(run).items() if (v := layers[-1][column]) != ""]
            if not points:
                raise UserError(f"runs: {run.path}: its output is not linear in its last hidden layer")
            x, y = np.array(points).T
            curves.setdefault(run.game, []).append((x, y))
        frames = np.unique(common_frames(curves, POINTS))
        band = sample_efficiency(curves, frames, mean)
        marker = "o" if len(frames) <= FEW else ""
        axes.plot(frames, band.estimate, dash, marker=marker, color=colour, linewidth=1.8, label=label)
        low, high = band.low, band.high
        if low is not None and high is not None:
            axes.fill_between(frames, low, high, color=colour, alpha=0.2, linewidth=0)
        ends = (None, None) if low is None or high is None else (float(low[-1]), float(high[-1]))
        said.append(f"{label} {with_interval(float(band.estimate[-1]), *ends)}")
        rows += [
            {"units": label.split()[0], "frame": int(f), "value": float(v)}
            | {"low": None if low is None else low[i], "high": None if high is None else high[i]}
            for i, (f, v) in enumerate(zip(frames, band.estimate, strict=True))
        ]
    axes.axhline(0, color="black", linewidth=0.6)
    format_frame_axes(axes, "", "average contribution to the Q-values")
    axes.legend(frameon=False)
    return Output(
        png(made, f"{request.name}: {request.title}", protocol_of(runs)),
        rows,
        "the contribution of dead units is substantial (DQN, tanh, Seaquest, 40M frames)",
        "at the end: " + ", ".join(said),
        protocol_of(runs),
        seeds_of(runs),
        ["averaged over actions and 2,048 recent observations of the agent; dead units by HR B.1", INTERVALS],
    )
