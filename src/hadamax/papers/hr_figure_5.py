"""HR Figure 5 (arXiv 2406.09079): diagram of the Hadamard representation, and its gradient near saturation.

hadamax paper hr-figure-5 --out figures
"""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from hadamax.papers.output import BLUE, GREY, VERMILLION, Output, Row, figure, format_axes, png, style_of
from hadamax.papers.panels import Request

ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
PLACES = torch.linspace(-6, 6, 241, dtype=torch.float64)


def gradient(activation: str, first: Tensor, second: Tensor) -> Tensor:
    """Compute |dz/du1| + |dz/du2| of z = f(u1) f(u2) by automatic differentiation, at two pre-activations [N]."""
    u1, u2 = first.clone().requires_grad_(), second.clone().requires_grad_()
    z = ACTIVATIONS[activation](u1) * ACTIVATIONS[activation](u2)
    parts = torch.autograd.grad(z.sum(), (u1, u2))
    return parts[0].abs() + parts[1].abs()


def figure_5(request: Request) -> Output:
    """Draw the diagram, and the gradient over one branch's pre-activation with the other one at 0.5."""
    rows: list[Row] = []
    for activation in ACTIVATIONS:
        product = gradient(activation, PLACES, torch.full_like(PLACES, 0.5))
        single = PLACES.clone().requires_grad_()
        (alone,) = torch.autograd.grad(ACTIVATIONS[activation](single).sum(), single)
        rows += [
            {"activation": activation, "branch_1": float(u), "gradient_without": float(a), "gradient_with": float(g)}
            for u, a, g in zip(PLACES, alone, product, strict=True)
        ]
    left = {a: tuple(_at(rows, a, end) for end in (-6.0, 6.0)) for a in ACTIVATIONS}
    return Output(
        _draw(request, rows),
        rows,
        "a drawing; a product of tanh passes gradients unless both branches are saturated, a product of sigmoids or "
        "ReLUs passes none once a branch is at zero (section 4)",
        "gradient if one branch is at -6 and at 6: "
        + ", ".join(f"{style_of(a, 0).label} {low:.2f} and {high:.2f}" for a, (low, high) in left.items()),
        "closed form",
        "none",
        ["the other branch's pre-activation is 0.5"],
    )


def _at(rows: list[Row], activation: str, place: float) -> float:
    return next(float(r["gradient_with"]) for r in rows if r["activation"] == activation and r["branch_1"] == place)


def _draw(request: Request, rows: list[Row]) -> bytes:
    made = figure(13, 4.6)
    drawing, *panels = made.subplots(1, 3, width_ratios=(1.2, 1, 1))
    _draw_layer(drawing)
    for axes, column, title in zip(
        panels,
        ("gradient_without", "gradient_with"),
        ("one branch: its gradient", "product of two: gradient to both,\nthe other branch live"),
        strict=True,
    ):
        for number, activation in enumerate(ACTIVATIONS):
            of = [row for row in rows if row["activation"] == activation]
            style = style_of(activation, number)
            dash = ("-", "--", "-.")[number]
            axes.plot([r["branch_1"] for r in of], [r[column] for r in of], dash, color=style.colour, label=style.label)
        format_axes(axes, title, "pre-activation of a branch", "size of the gradient")
        axes.set_ylim(0, 1.6)
        axes.legend(frameon=False)
    return png(made, f"{request.name}: {request.title}")


def _draw_layer(axes: Axes) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, 10), ylim=(0, 8))
    boxes = {
        "layer\n" + r"$z_t$": (0.9, 4, GREY),
        r"$A_1 z_t + B_1$": (3.7, 6, BLUE),
        r"$A_2 z_t + B_2$": (3.7, 2, VERMILLION),
        r"$f$": (6.3, 6, BLUE),
        r"$f$ ": (6.3, 2, VERMILLION),
        r"$\odot$": (7.9, 4, GREY),
        "next\n" + r"$z_{t+1}$": (9.4, 4, GREY),
    }
    for text, (x, y, colour) in boxes.items():
        wide = 0.95 if text.startswith("$A") else 0.45
        box = FancyBboxPatch((x - wide, y - 0.55), 2 * wide, 1.1, boxstyle="round,pad=0.12", color=colour, alpha=0.25)
        axes.add_patch(box)
        axes.text(x, y, text, ha="center", va="center", fontsize=12)
    for start, end in (
        ((1.5, 4.3), (2.6, 5.8)),
        ((1.5, 3.7), (2.6, 2.2)),
        ((4.8, 6), (5.7, 6)),
        ((4.8, 2), (5.7, 2)),
        ((6.8, 5.6), (7.6, 4.7)),
        ((6.8, 2.4), (7.6, 3.3)),
        ((8.5, 4), (8.8, 4)),
    ):
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color="black"))
    axes.set_title("a Hadamard representation", fontsize=10.5)
