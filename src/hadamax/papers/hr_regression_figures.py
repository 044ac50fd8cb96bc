"""HR Figures 2 and 12: errors during the fit, final errors, and the fitted functions.

hadamax paper hr-figure-2 --out figures
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from scipy import stats

from hadamax.papers.output import Output, Row, with_interval
from hadamax.papers.panels import Request
from hadamax.papers.regression import (
    CHOICES,
    DEEP,
    RANGE,
    SEEDS,
    SHALLOW,
    STEPS,
    TANH_HR,
    TEST_POINTS,
    WIDE,
    Architecture,
    Fit,
    best_fit,
    interval_name,
    median_interval,
    target,
)
from hadamax.papers.style import GREY, VariantStyle, figure, format_axes, png, style_of


def figure_2(request: Request) -> Output:
    """Draw the shallow networks."""
    return _output(
        request, {"shallow": _fits(request, SHALLOW)}, "Tanh (HR) fits best, with 501 parameters against 601"
    )


def figure_12(request: Request) -> Output:
    """Draw the shallow and deep networks, including the deep Tanh (HR) of appendix C.1."""
    groups = {"shallow": _fits(request, SHALLOW), "deep": _fits(request, DEEP)}
    for range_, of in groups["deep"].items():  # the paper's comparison in (b)
        of += [fit for fit in groups["shallow"][range_] if fit.architecture is TANH_HR]
    return _output(
        request,
        groups,
        "(a) shallow: Tanh (HR) best; (b) shallow Tanh (HR) better than deep ReLU, which is better than deep Tanh; "
        "deep Tanh (HR) like the shallow one",
    )


def _fits(request: Request, architectures: Sequence[Architecture]) -> dict[tuple[float, float], list[Fit]]:
    seeds = tuple(range(1, request.seeds + 1)) if request.seeds else SEEDS
    return {range_: [best_fit(a, seeds, range_=range_) for a in architectures] for range_ in (RANGE, WIDE)}


Groups = dict[str, dict[tuple[float, float], list[Fit]]]


def _output(request: Request, groups: Groups, published: str) -> Output:
    fits = [(group, range_, fit) for group, ranges in groups.items() for range_, of in ranges.items() for fit in of]
    rows = [row for group, range_, fit in fits for row in _rows(group, range_, fit)]
    said = []
    for _, range_, fit in fits:
        a = fit.architecture
        said.append(
            f"{_name(range_)} {a.name} {with_interval(*median_interval(fit.final))} ({a.parameters:,} parameters)"
        )
    first = fits[0][2]
    interval = interval_name(first.final.size)
    choices = [*CHOICES, f"intervals: {interval}, of the median over seeds (order statistics, exact binomial)"]
    return Output(
        _draw(request, groups),
        rows,
        published + " (one fit each, read off the figure)",
        f"final median squared error, {interval}: " + ", ".join(dict.fromkeys(said)),
        f"regression, {STEPS:,} steps of Adam at the best of one grid of learning rates",
        str(first.errors.shape[1]),
        choices,
        [*_comparisons(groups), *_edges(fits)],
    )


def _comparisons(groups: Groups) -> list[str]:
    """Compare Tanh (HR) with every other network of its range, in words."""
    lines = []
    for range_ in (RANGE, WIDE):
        of = [fit for ranges in groups.values() for fit in ranges[range_]]
        hr = next(fit for fit in of if fit.architecture is TANH_HR)
        for other in of:
            if other is hr:  # also listed among the deep ones
                continue
            test = stats.mannwhitneyu(hr.final, other.final)
            below = test.statistic / (hr.final.size * other.final.size)
            word = "lower than" if below < 0.5 else "higher than"
            word = "is not significantly different from" if test.pvalue > 0.05 else f"is {word}"
            lines.append(
                f"{_name(range_)}: the error of shallow Tanh (HR) {word} that of {other.architecture.name}: its error "
                f"is lower with probability {1 - below:.2f} (Mann-Whitney p {test.pvalue:.2g})"
            )
    return lines


def _edges(fits: Sequence[tuple[str, tuple[float, float], Fit]]) -> list[str]:
    """Warn if the best learning rate is an end of the grid, since a better one may lie outside."""
    return [
        f"{_name(range_)} {fit.architecture.name}: its best learning rate, {fit.rate:g}, is an end of the grid"
        for _, range_, fit in fits
        if fit.rate in (min(fit.choosing), max(fit.choosing))
    ]


def _name(range_: tuple[float, float]) -> str:
    return f"[{range_[0]:g}, {range_[1]:g}]"


def _rows(group: str, range_: tuple[float, float], fit: Fit) -> list[Row]:
    a = fit.architecture
    return [
        {
            "group": group,
            "range": _name(range_),
            "network": a.name,
            "parameters": a.parameters,
            "learning_rate": fit.rate,
            "step": int(step),
            **dict(zip(("median", "low", "high"), median_interval(errors), strict=True)),
            "seeds": errors.size,
        }
        for step, errors in zip(fit.steps, fit.errors, strict=True)
    ]


def _draw(request: Request, groups: Groups) -> bytes:
    panels = [(group, range_, of) for group, ranges in groups.items() for range_, of in ranges.items()]
    made = figure(13.5, 3.9 * len(panels) + 0.7)
    grid = made.subplots(len(panels), 3, squeeze=False, width_ratios=(1.25, 1, 0.8))
    for (fit_axes, error_axes, end_axes), (group, range_, of) in zip(grid, panels, strict=True):
        _draw_fits(fit_axes, range_, of)
        fit_axes.set_title(f"{group} networks on {_name(range_)}: the fit with the median error", fontsize=10.5)
        for number, fit in enumerate(of):
            style = _style_of(fit, number)
            median, low, high = np.array([median_interval(errors) for errors in fit.errors]).T
            error_axes.plot(fit.steps, median, linestyle=style.dash, color=style.colour, label=fit.architecture.name)
            error_axes.fill_between(fit.steps, low, high, color=style.colour, alpha=0.2, linewidth=0)
        error_axes.set(xscale="log", yscale="log")
        format_axes(error_axes, f"median over seeds, {interval_name(of[0].final.size)}", "step", "mean squared error")
        error_axes.legend(frameon=False, fontsize=8.5)
        _draw_ends(end_axes, of)
    return png(made, f"{request.name}: {request.title}")


def _draw_fits(axes: Axes, range_: tuple[float, float], of: Sequence[Fit]) -> None:
    x = torch.linspace(*range_, TEST_POINTS)
    axes.plot(x, target(x), color=GREY, linewidth=4, alpha=0.35, label="target")
    for number, fit in enumerate(of):
        style = _style_of(fit, number)
        middle = int(np.argsort(fit.final)[fit.final.size // 2])
        axes.plot(
            x,
            fit.predictions[middle],
            linestyle=style.dash,
            color=style.colour,
            linewidth=1.3,
            label=fit.architecture.name,
        )
    format_axes(axes, "", "x", "y")
    axes.legend(frameon=False, fontsize=8.5, ncols=2)


def _draw_ends(axes: Axes, of: Sequence[Fit]) -> None:
    for number, fit in enumerate(of):
        style = _style_of(fit, number)
        spread = np.linspace(-0.25, 0.25, fit.final.size)
        axes.plot(number + spread, np.sort(fit.final), style.marker, color=style.colour, markersize=4, alpha=0.8)
        median, low, high = median_interval(fit.final)
        axes.errorbar(number + 0.38, median, yerr=[[median - low], [high - median]], fmt="D", color="black", capsize=4)
    labels = [f"{fit.architecture.name}\n{fit.architecture.parameters:,}\nrate {fit.rate:g}" for fit in of]
    axes.set_xticks(range(len(of)), labels, fontsize=8)
    axes.set_yscale("log")
    axes.set_xlim(-0.5, len(of) - 0.4)
    format_axes(axes, "final error: every seed, median", "", "mean squared error")


def _style_of(fit: Fit, number: int) -> VariantStyle:
    return style_of(fit.architecture.variant, number)
