"""Export of figures as SVG and PDF, and adaptation of SVG for the page."""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure

from hadamax.studies.report.style import COLOURS, INK, LINES, MUTED, PAPER

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
