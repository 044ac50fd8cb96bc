"""HR Table 2 and Figure 7 (arXiv 2406.09079): dead units, rank and score with and without a Hadamard representation.

hadamax paper hr-table-2 --runs results/hr-minatar
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hadamax.errors import UserError
from hadamax.papers.claims import HR
from hadamax.papers.measures import dead_fraction, dead_units, diagnostics, effective_ranks, last_values, scores
from hadamax.papers.output import Output, Row, figure, format_axes, png, style_of, with_interval
from hadamax.papers.panels import Panel, Request, draw_panels
from hadamax.papers.runs import MissingRuns, Need, protocol_of, seeds_of
from hadamax.papers.verdicts import Finals, verdicts
from hadamax.studies.collect import Run
from hadamax.studies.scores import Array
from hadamax.studies.statistics import aggregate_intervals
from hadamax.studies.statistics.bootstrap import mean

PUBLISHED = {"tanh": 0.39, "tanh-hr": 0.30, "sigmoid": 0.44, "sigmoid-hr": 0.45, "relu": 0.62, "relu-hr": 0.73}


def finals_of(runs: Sequence[Run]) -> dict[str, Finals]:
    """Collect final dead fractions, ranks and baseline-normalised scores by variant, game and seed."""
    dead = {v: {g: [x / 100 for x in xs] for g, xs in games.items()} for v, games in last_dead(runs).items()}
    found: dict[str, Finals] = {"dead": dead, "rank": last_values(effective_ranks(runs).curves)}
    if "relu" in {run.variant for run in runs}:
        with suppress(UserError):  # the baseline's score is constant in a game
            found["score"] = last_values(scores(runs, "relu", "baseline").curves)
    return found


def last_dead(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    return last_values(dead_units(runs).curves)


def table_2(request: Request) -> Output:
    """Tabulate dead fractions at the end of training, averaged over games, with intervals, and judge the claims."""
    runs = list(request.found["hr-dqn"])
    finals = finals_of(runs)
    variants = [v for v in PUBLISHED if v in finals["dead"]]
    missing = [v for v in PUBLISHED if v not in finals["dead"]]
    if not variants:
        raise MissingRuns(f"runs: there are no runs of {', '.join(PUBLISHED)}, the variants of {request.name}")
    drawn = dead_units(runs)
    frames = {
        variant: max(int(x[-1]) for curves in games.values() for x, _ in curves)
        for variant, games in drawn.curves.items()
    }
    when = " to ".join(f"{frame:,}" for frame in sorted({min(frames.values()), max(frames.values())}))
    rows: list[Row] = []
    numbers: dict[str, Any] = {}
    for variant in variants:
        interval = aggregate_intervals(finals["dead"][variant], {"mean": mean})["mean"]
        numbers[variant] = interval
        average = _average(runs, variant)
        games = finals["dead"][variant]
        rows.append(
            {
                "variant": variant,
                "published": PUBLISHED[variant],
                "ours_at_the_end": interval.estimate,
                "at_frame": frames[variant],
                "low": interval.low,
                "high": interval.high,
                "ours_over_training": average,
                "games": len(games),
                "runs": sum(map(len, games.values())),
            }
        )
    said = ", ".join(f"{style_of(v, 0).label} {with_interval(*numbers[v][:3])}" for v in variants)
    return Output(
        _draw(request, numbers, protocol_of(runs)),
        rows,
        ", ".join(f"{style_of(v, 0).label} {PUBLISHED[v]:g}" for v in PUBLISHED) + " (DQN, 8 Atari games, 40M frames)",
        said,
        protocol_of(runs),
        seeds_of(runs),
        [
            "the paper does not say when in training, nor how ReLU is judged: ours is the last measurement, "
            f"at frame {when} (the CSV also has the average over training); " + drawn.choices[0],
            "a claim holds if the difference lies on the claimed side with p < 0.05 (Welch's t over seeds, Holm's "
            "correction for all claims below); 'as many' means within 0.05",
        ],
        [
            *([f"there are no runs of {', '.join(missing)}"] if missing else []),
            *(f"claim: {verdict.line()}" for verdict in verdicts(finals, HR)),
        ],
    )


def figure_7(request: Request) -> Output:
    """Draw the three panels and judge the claims."""
    runs = list(request.found["hr-dqn"])
    need = Need("hr-dqn", ("relu", "sigmoid", "tanh", "tanh-hr", "tanh-norm"))
    panels = (
        Panel("(a) dead units", "dead", need),
        Panel("(b) effective rank", "rank", need),
        Panel("(c) score", "baseline", need._replace(variants=(*need.variants, "rational"))),
    )
    drawn = draw_panels(
        request,
        panels,
        "about 60% dead units of ReLU, 40% of Tanh and Sigmoid, fewer of Tanh (HR), fewest with layer norm; "
        "Tanh (HR) has the highest rank and score (DQN, 8 Atari games, 40M frames)",
    )
    claims = [f"claim: {verdict.line()}" for verdict in verdicts(finals_of(runs), HR)]
    return replace(drawn, notes=[*drawn.notes, *claims])


def _average(runs: Sequence[Run], variant: str) -> float:
    """Average the dead fraction over all measurements, runs and games."""
    fractions: list[float] = []
    for run in runs:
        if run.variant == variant:
            measured = diagnostics(run).values()
            fractions.append(sum(dead_fraction(layers[-1]) for layers in measured) / len(measured))
    return sum(fractions) / len(fractions)


def _draw(request: Request, numbers: dict[str, Any], protocol: str) -> bytes:
    made = figure(7.5, 4.8)
    axes = made.add_subplot()
    places: list[float] = []
    for index, (variant, interval) in enumerate(numbers.items()):
        place = index + 0.5 * (index // 2)
        places.append(place)
        style = style_of(variant, index)
        hatch = "//" if variant.endswith("-hr") else ""
        axes.bar(place, interval.estimate, color=style.colour, alpha=0.75, hatch=hatch, edgecolor="white")
        if interval.low is not None:
            below, above = interval.estimate - interval.low, interval.high - interval.estimate
            spread: Array | list[list[float]] = [[max(below, 0.0)], [max(above, 0.0)]]
            axes.errorbar(place, interval.estimate, yerr=spread, color="black", capsize=5)
        label = "published (DQN, 8 Atari games)" if index == 0 else None
        axes.plot(place, PUBLISHED[variant], "D", color="black", markerfacecolor="white", label=label)
    axes.set_xticks(places, [style_of(v, 0).label for v in numbers])
    axes.set_xlim(-0.7, max(places) + 0.7)
    axes.set_ylim(0, 1)
    format_axes(axes, "bars: our runs with 95% interval; hatched: Hadamard representation", "", "dead units, fraction")
    axes.legend(frameon=False)
    return png(made, f"{request.name}: {request.title}", protocol)
