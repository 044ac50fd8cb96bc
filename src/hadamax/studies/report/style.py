"""Colour, dashes and marker of each variant in all figures; any one of them distinguishes the variants."""

from __future__ import annotations

from typing import Any, NamedTuple

from hadamax import plotting

COLOURS = plotting.COLOURS[:6]  # black is the text; the page replaces colours by CSS variables
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
INK, MUTED, LINES = "#1a1a1b", "#5c5c5f", "#cfcfd2"

PAPER: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hadamax",
    "pdf.fonttype": 42,  # embed fonts, so that text can be selected
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.grid": True,
    "grid.color": LINES,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify_threshold": 0.3,
}


class Style(NamedTuple):
    colour: str
    dashes: Any
    marker: str


def style_of(number: int) -> Style:
    """Return the style of the variant with this number; the first 210 styles are distinct."""
    return Style(COLOURS[number % 6], DASHES[number % 5], plotting.MARKERS[number % 7])
