"""Style of all figures of a report (colour, dashes and marker of each variant), and their export as SVG and PDF."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

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


VARIABLES = {
    **{colour: f"var(--series-{i})" for i, colour in enumerate(COLOURS)},
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINES: "var(--lines)",
}
TAG = re.compile(r"<[^>]*>")
DIGITS = re.compile(r"(\d+\.\d{2})\d+")
DECLARATION = re.compile(r"^.*?(?=<svg)", re.DOTALL)
METADATA = re.compile(r"\s*<metadata>.*?</metadata>|\s*<!--.*?-->", re.DOTALL)
ID = re.compile(r'\sid="([^"]*)"')
USED = re.compile(r'(?:url\(#|href="#)([^)"]+)')
SIZE = re.compile(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>')
FONT = re.compile(r"font: ([^;']*?)'DejaVu Sans'[^;\"]*")


def to_svg(figure: Figure) -> str:
    """Return the figure as deterministic SVG, with coordinates rounded to two decimals."""
    file = io.BytesIO()
    with matplotlib.rc_context(PAPER):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return TAG.sub(lambda tag: DIGITS.sub(r"\1", tag[0]), METADATA.sub("", file.getvalue().decode()))


def to_pdf(figure: Figure) -> bytes:
    """Return the figure as a one-page PDF."""
    file = io.BytesIO()
    with matplotlib.rc_context(PAPER):
        figure.savefig(file, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return file.getvalue()


def for_page(svg: str, name: str, title: str, description: str) -> str:
    """Adapt SVG to the page: labels for screen readers, the page's colours and fonts, unique ids."""
    svg = DECLARATION.sub("", svg, count=1)
    used = set(USED.findall(svg))
    svg = ID.sub(lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", svg)
    svg = USED.sub(lambda match: match[0].replace(f"#{match[1]}", f"#{name}-{match[1]}"), svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = FONT.sub(r"font: \1var(--sans)", svg)
    label = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    named = f'role="img" aria-labelledby="{name}-title" aria-describedby="{name}-desc"'
    match = SIZE.search(svg)
    assert match
    width, height = match[1].split()[2:]
    opening = (
        f'<svg viewBox="{match[1]}" style="--width: {float(width):g}px; aspect-ratio: {width} / {height}" {named}>'
    )
    return svg[: match.start()] + opening + label + svg[match.end() :]
