"""HR Table 1 (arXiv 2406.09079): probability that a unit of a product is dead, by formula and by simulation.

Simulated units are saturated with probability p, at either end with equal probability (ReLU: at zero), independently in
each branch. Layers run on random observations, and the units of the product are judged by their outputs: by density (HR
B.1) for tanh and sigmoid, by zero on every sample for ReLU.

    hadamax paper hr-table-1 --out figures
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.diagnostics import dead_neurons, zero_neurons
from hadamax.networks import HadamardLinear
from hadamax.papers.output import Output, Row, figure, format_axes, png, style_of
from hadamax.papers.panels import Request

CLOSED: dict[str, Callable[[float], float]] = {
    "tanh": lambda p: p**2,
    "sigmoid": lambda p: p,
    "relu": lambda p: 2 * p - p**2,
}
FORMULAS = {"tanh": "p^2", "sigmoid": "p", "relu": "2p - p^2"}
PROBABILITIES = tuple(i / 10 for i in range(1, 10))
UNITS = 4000  # per simulated layer
INPUTS, SAMPLES = 16, 256
FAR = 25.0  # bias that saturates an activation for every input


class Simulated(NamedTuple):
    """A fraction of dead units and its standard error."""

    fraction: float
    error: float


def simulate(activation: str, p: float, branches: int, *, units: int = UNITS, seed: int = 0) -> Simulated:
    """Run a layer with randomly saturated branches on random observations, and judge its units by their outputs."""
    generator = torch.Generator().manual_seed(seed)
    layer = HadamardLinear(INPUTS, units, branches=branches, activation=activation)
    saturated = torch.rand(branches * units, generator=generator) < p
    end = torch.where(torch.rand(branches * units, generator=generator) < 0.5, FAR, -FAR)
    if activation == "relu":
        end = torch.full_like(end, -FAR)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / math.sqrt(INPUTS))
        assert layer.bias is not None
        layer.bias.copy_(torch.where(saturated, end, torch.zeros_like(end)))
        outputs: Tensor = layer(torch.randn(SAMPLES, INPUTS, generator=generator))
    dead = zero_neurons(outputs) if activation == "relu" else dead_neurons(outputs, generator=generator)
    fraction = float(dead.double().mean())
    expected = p if branches == 1 else CLOSED[activation](p)
    return Simulated(fraction, math.sqrt(expected * (1 - expected) / units))


def table_1(request: Request) -> Output:
    """Draw the closed forms as curves, and simulated layers as points with three standard errors."""
    rows: list[Row] = []
    farthest = 0.0
    for number, (activation, closed) in enumerate(CLOSED.items()):
        for index, p in enumerate(PROBABILITIES):
            for branches in (1, 2):
                expected = p if branches == 1 else closed(p)
                found = simulate(activation, p, branches, seed=1000 * number + 10 * index + branches)
                away = (found.fraction - expected) / found.error
                farthest = max(farthest, abs(away))
                rows.append(
                    {
                        "activation": activation,
                        "hadamard": branches == 2,
                        "p": p,
                        "published": expected,
                        "simulated": found.fraction,
                        "standard_error": found.error,
                        "errors_away": away,
                    }
                )
    return Output(
        _draw(request, rows),
        rows,
        "with HR: " + ", ".join(f"{style_of(a, 0).label} {formula}" for a, formula in FORMULAS.items()),
        f"{len(rows)} simulated layers of {UNITS:,} units are at most {farthest:.1f} standard errors from the formulas",
        "closed form; simulation with real layers judged by the diagnostics' criteria",
        "1 simulation per point",
        [
            f"saturated branches have a bias of {FAR:g} and live ones a bias of 0; {SAMPLES} observations of {INPUTS} "
            "normal numbers; ReLU units are dead at zero only"
        ],
    )


def _draw(request: Request, rows: list[Row]) -> bytes:
    made = figure(6.6, 5.6)
    axes = made.add_subplot()
    p = torch.linspace(0, 1, 101).tolist()
    axes.plot(p, p, color="black", linewidth=1, label="any activation without HR: p")
    for number, (activation, closed) in enumerate(CLOSED.items()):
        style = style_of(activation, number)
        label = f"{style.label} with HR: {FORMULAS[activation]}"
        dash = ("-", "--", "-.")[number]
        axes.plot(p, [closed(x) for x in p], dash, color=style.colour, linewidth=1.8, label=label)
        points = [row for row in rows if row["activation"] == activation and row["hadamard"]]
        axes.errorbar(
            [row["p"] for row in points],
            [row["simulated"] for row in points],
            yerr=[3 * row["standard_error"] for row in points],
            fmt=style.marker,
            color=style.colour,
            capsize=3,
            markersize=5,
        )
    axes.plot([], [], "o", color="grey", label="simulated, three standard errors")
    format_axes(axes, "", "probability that a branch is saturated", "probability that the product's unit is saturated")
    axes.legend(frameon=False)
    return png(made, f"{request.name}: {request.title}")
