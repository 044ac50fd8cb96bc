"""HR Figures 2 and 12 (arXiv 2406.09079): tanh, ReLU and a Hadamard product of tanh fit a sum of sinusoids.

The paper states the target, the architectures and one fit each. All other settings are not from the paper and were
fixed before the first fit: see `CHOICES`. All seeds of an architecture and a learning rate are trained as one stack.

    hadamax paper hr-figure-2 --out figures
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from hadamax.networks import HadamardLinear
from hadamax.papers.output import GREY, Output, Row, VariantStyle, figure, format_axes, png, style_of, with_interval
from hadamax.papers.panels import Request

Array = NDArray[Any]

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
STEPS = 2000
POINTS = 128  # training points
TEST_POINTS = 1001
RANGE = (-1.0, 1.0)
WIDE = (-3.0, 3.0)  # added after the first fits, since almost every network fits the narrow range
LOGGED = 60  # number of points of an error curve
CHOOSING_SEEDS = (1001, 1002, 1003)  # used to choose the learning rate; not among the reported seeds
SEEDS = tuple(range(1, 21))
CHOICES = (
    f"x evenly spaced from {RANGE[0]:g} to {RANGE[1]:g}, and from {WIDE[0]:g} to {WIDE[1]:g}: {POINTS} training points "
    f"and {TEST_POINTS} test points, no noise (the wide range was added after the narrow one had been fitted)",
    f"Adam on all points at once, {STEPS:,} steps, mean squared error, PyTorch's default initial weights",
    f"learning rate: the best of {', '.join(f'{rate:g}' for rate in RATES)} for each architecture by the final median "
    f"error over {len(CHOOSING_SEEDS)} seeds that are not among the reported ones "
    f"({RATES[-2]:g} and {RATES[-1]:g} were added because shallow ReLU was best at 0.1)",
)


class Architecture(NamedTuple):
    """A network with one input and one output."""

    name: str
    variant: str
    make: Callable[[], nn.Module]
    published: int | None  # parameters

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.make().parameters())


class Fit(NamedTuple):
    """An architecture at its best learning rate."""

    architecture: Architecture
    rate: float
    steps: Array  # [point]
    errors: Array  # [point, seed], mean squared, on the test points
    predictions: Array  # [seed, test point], at the end
    choosing: dict[float, float]  # median error over the choosing seeds, by learning rate

    @property
    def final(self) -> Array:
        return np.asarray(self.errors[-1])


def network(activation: str, width: int, layers: int, branches: int = 1) -> nn.Module:
    """Build `layers` hidden layers of `width` units between one input and one output."""
    sizes = [1] + [width] * layers
    hidden = [HadamardLinear(a, b, branches=branches, activation=activation) for a, b in pairwise(sizes)]
    return nn.Sequential(*hidden, nn.Linear(width, 1))


TANH = Architecture("Tanh", "tanh", lambda: network("tanh", 200, 1), 601)
RELU = Architecture("ReLU", "relu", lambda: network("relu", 200, 1), 601)
TANH_HR = Architecture("Tanh (HR)", "tanh-hr", lambda: network("tanh", 100, 1, branches=2), 501)
DEEP_TANH = Architecture("deep Tanh", "tanh", lambda: network("tanh", 200, 3), 81_001)
DEEP_RELU = Architecture("deep ReLU", "relu", lambda: network("relu", 200, 3), 81_001)
# Appendix C.1 does not state the width: half of the others', as for the shallow one.
DEEP_TANH_HR = Architecture("deep Tanh (HR)", "tanh-2hr", lambda: network("tanh", 100, 3, branches=2), None)
SHALLOW = (TANH, RELU, TANH_HR)
DEEP = (DEEP_TANH, DEEP_RELU, DEEP_TANH_HR)


def target(x: Tensor) -> Tensor:
    """Compute 10 sin 7x + 15 sin 10x + 5 cos 5x (HR Fig. 2)."""
    return 10 * torch.sin(7 * x) + 15 * torch.sin(10 * x) + 5 * torch.cos(5 * x)


def best_fit(architecture: Architecture, seeds: Sequence[int] = SEEDS, **how: Any) -> Fit:
    """Choose the learning rate on separate seeds, then train the reported seeds with it."""
    rates = how.pop("rates", RATES)
    choosing = {rate: float(np.median(train(architecture.make, CHOOSING_SEEDS, rate, **how)[1][-1])) for rate in rates}
    rate = min(choosing, key=lambda rate: choosing[rate] if np.isfinite(choosing[rate]) else np.inf)
    return Fit(architecture, rate, *train(architecture.make, seeds, rate, **how), choosing)


def train(
    make: Callable[[], nn.Module],
    seeds: Sequence[int],
    rate: float,
    *,
    steps: int = STEPS,
    points: int = POINTS,
    range_: tuple[float, float] = RANGE,
) -> tuple[Array, Array, Array]:
    """Train one network per seed: return steps [point], test errors [point, seed], predictions [seed, test point]."""
    networks = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(make())
    parameters, buffers = stack_module_state(networks)
    skeleton = networks[0]

    def one(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(skeleton, (p, b), (x,))
        return output

    forward = vmap(one, in_dims=(0, 0, None))
    x, test = torch.linspace(*range_, points)[:, None], torch.linspace(*range_, TEST_POINTS)[:, None]
    y, test_y = target(x), target(test)
    optimizer = torch.optim.Adam(parameters.values(), lr=rate)
    logged = np.unique(np.geomspace(1, steps, LOGGED).round().astype(int))
    errors = []
    for step in range(1, steps + 1):
        loss = (forward(parameters, buffers, x) - y).square().mean(dim=(1, 2)).sum()  # independent over seeds
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in logged:
            with torch.no_grad():
                predictions = forward(parameters, buffers, test)
            errors.append((predictions - test_y).square().mean(dim=(1, 2)).numpy())
    return logged, np.array(errors), predictions[..., 0].numpy()


def interval_name(seeds: int) -> str:
    """Name the interval that `median_interval` returns for this number of seeds."""
    return "95% interval" if seeds > 5 else "lowest to highest seed"


def median_interval(values: Array, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the median and a confidence interval between two order statistics, with at least this coverage.

    With too few values for that (5 or fewer at 95%), the interval is from the minimum to the maximum.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    below = int(stats.binom.ppf((1 - confidence) / 2, ordered.size, 0.5))
    low = max(below - 1, 0)
    return float(np.median(ordered)), float(ordered[low]), float(ordered[ordered.size - 1 - low])


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
