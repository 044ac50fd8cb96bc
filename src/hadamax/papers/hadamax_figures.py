"""Hadamax (arXiv 2505.15345): run time and score, with the values of its figures.

hadamax paper hadamax-run-time --runs runs
"""

from __future__ import annotations

from typing import Any

from hadamax.papers.measures import last_values, scores
from hadamax.papers.output import GREY, Output, Row, figure, format_axes, png, style_of, with_interval
from hadamax.papers.panels import INTERVALS, Request
from hadamax.papers.runs import protocol_of, seeds_of
from hadamax.published import read_table
from hadamax.runs.logs import read_csv
from hadamax.studies.collect import Run
from hadamax.studies.statistics import aggregate_intervals


def run_time(request: Request) -> Output:
    """Plot hours of training and final score of each variant; published hours and medians in grey."""
    runs = [run for found in request.found.values() for run in found]
    drawn = scores(runs, "pqn", "human median")
    found = {
        variant: aggregate_intervals(games, {"score": drawn.function})["score"]
        for variant, games in last_values(drawn.curves).items()
    }
    rows: list[Row] = []
    made = figure(8, 5.6)
    axes = made.add_subplot()
    said = []
    frames = runs[0].settings.run.frames
    for number, (variant, interval) in enumerate(found.items()):
        spent = [_hours(run) for run in runs if run.variant == variant]
        x = sum(spent) / len(spent)
        style = style_of(variant, number)
        spread: Any = None
        if interval.low is not None and interval.high is not None:
            spread = [[max(interval.estimate - interval.low, 0)], [max(interval.high - interval.estimate, 0)]]
        axes.errorbar(x, interval.estimate, yerr=spread, fmt=style.marker, color=style.colour, capsize=5, markersize=9)
        axes.annotate(style.label, (x, interval.estimate), (8, 6), textcoords="offset points")
        said.append(f"{style.label} {with_interval(*interval[:3])} in {x:.3g} hours")
        rows.append(_row(variant, "ours", x, frames, interval.estimate, interval.low, interval.high))
    shown = drawn.label.startswith("human")
    for agent, hours, median in published_points():
        rows.append(_row(agent, "published", hours, 200_000_000, median, None, None))
        if shown:
            axes.plot(hours, median, "s", color=GREY, markerfacecolor="white")
            axes.annotate(
                f"{agent} (published, 200M frames)", (hours, median), (6, -11), textcoords="offset points", fontsize=8
            )
    axes.set_xscale("log")
    format_axes(axes, "", f"hours of training per game, {frames / 1e6:g}M frames", drawn.label)
    return Output(
        png(made, f"{request.name}: {request.title}", protocol_of(runs)),
        rows,
        ", ".join(f"{agent} {median:g} in {hours:g} hours" for agent, hours, median in published_points()[:3])
        + " (200M frames, one GPU; read off a figure)",
        ", ".join(said),
        f"{protocol_of(runs)}; on {'/'.join(sorted({run.settings.run.device for run in runs}))}",
        seeds_of(runs),
        [*drawn.choices, "hours include training only, mean over games and seeds", INTERVALS],
        [] if shown else ["published medians are not drawn because they are on another scale"],
    )


def published_points() -> list[tuple[str, float, float]]:
    """Return (agent, hours, median human-normalised score) at 200M frames."""
    table = read_table("hadamax_published.csv")
    of = {
        kind: {r["agent"]: float(r["value"]) for r in table if r["quantity"] == kind}
        for kind in ("gpu_hours_200M", "median_hns_atari57")
    }
    return [(a, of["gpu_hours_200M"][a], m) for a, m in of["median_hns_atari57"].items() if a in of["gpu_hours_200M"]]


def _hours(run: Run) -> float:
    return float(read_csv(run.path / "metrics.csv")[-1]["seconds"]) / 3600


def _row(
    agent: str, source: str, hours: float, frames: int, score: float, low: float | None, high: float | None
) -> Row:
    return {
        "agent": agent,
        "source": source,
        "hours": hours,
        "frames": frames,
        "score": score,
        "low": low,
        "high": high,
    }
