"""Result of a figure or table: picture, CSV and text; and the style of its picture, safe for the colour-blind."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from hadamax.errors import UserError
from hadamax.files import write_atomically
from hadamax.plotting import BLUE, COLOURS, GREY, MARKERS, VERMILLION

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "MARKERS",
    "VERMILLION",
    "VariantStyle",
    "draw_table",
    "figure",
    "format_axes",
    "format_frame_axes",
    "png",
    "style_of",
]

# The first four are for known variants, the others for unknown ones.
Dash = str | tuple[int, tuple[int, ...]]
DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.", (0, (9, 2)), (0, (3, 3)), (0, (6, 2, 1, 2)), (0, (1, 4)))
KNOWN_DASHES = 4


class VariantStyle(NamedTuple):
    """Style of one variant, the same in every figure."""

    label: str
    colour: str
    dash: Dash
    marker: str


# One colour per activation; dashed for products, so that pairs are recognisable.
_KNOWN = {
    "relu": ("ReLU", 1, 0),
    "relu-hr": ("ReLU (HR)", 1, 1),
    "tanh": ("Tanh", 0, 0),
    "tanh-hr": ("Tanh (HR)", 2, 1),
    "sigmoid": ("Sigmoid", 3, 0),
    "sigmoid-hr": ("Sigmoid (HR)", 3, 1),
    "tanh-norm": ("Tanh, layer norm", 4, 2),
    "tanh-sum": ("Tanh (+)", 5, 3),
    "tanh-2hr": ("Tanh (2HR)", 6, 1),
    "tanh-1024": ("Tanh, 1024", 4, 3),
    "tanh-1024-slow": ("Tanh, 1024, rate 5e-5", 6, 3),
    "selu": ("SELU", 6, 2),
    "rational": ("Rational", 4, 0),
    "crelu": ("CReLU", 4, 3),
    "relu-redo": ("ReLU, ReDo", 3, 2),
    "pqn": ("PQN", 1, 0),
    "hadamax": ("Hadamax", 0, 0),
    "c51": ("C51", 1, 0),
    "c51-hadamax": ("C51, Hadamax", 0, 0),
}


def style_of(variant: str, number: int) -> VariantStyle:
    """Return the style of a variant; for an unknown one, by its `number` in the figure."""
    others = DASHES[KNOWN_DASHES:]
    if variant in _KNOWN:
        label, colour, place = _KNOWN[variant]
        dash = DASHES[place]
    else:
        label, colour, dash = variant, number % len(COLOURS), others[number // len(COLOURS) % len(others)]
    return VariantStyle(label, COLOURS[colour], dash, MARKERS[number % len(MARKERS)])


def figure(width: float, height: float) -> Figure:
    made = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(made)
    return made


def format_axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10.5)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def format_frame_axes(axes: Axes, title: str, y: str) -> None:
    """Label the x axis as emulator frames (`500k`, `1.5M`) and do not clip markers at the edges."""
    format_axes(axes, title, "emulator frames", y)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for line in axes.lines:
        line.set_clip_on(False)


def png(made: Figure, title: str, subtitle: str = "") -> bytes:
    """Return the figure as PNG, with a title and a subtitle."""
    wide = int(made.get_figwidth() * 11)
    made.suptitle("\n".join([*textwrap.wrap(title, wide), *textwrap.wrap(subtitle, wide)]), fontsize=11)
    picture = io.BytesIO()
    made.savefig(picture, format="png")
    return picture.getvalue()


def draw_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> bytes:
    """Draw a table as PNG; `widths` are in characters, and longer cells are wrapped."""
    cells = [["\n".join(textwrap.wrap(cell, w) or [""]) for cell, w in zip(row, widths, strict=True)] for row in rows]
    heights = [1.0 + max(cell.count("\n") for cell in row) for row in cells]
    total = sum(heights) + 1.6
    made = figure(0.105 * sum(widths), 0.215 * total + 0.6)
    axes = made.add_subplot()
    axes.set_axis_off()
    lefts = [sum(widths[:i]) for i in range(len(widths))]
    axes.set_xlim(0, sum(widths))
    axes.set_ylim(total, 0)
    text: dict[str, Any] = {"va": "top", "fontsize": 9}
    for left, column in zip(lefts, columns, strict=True):
        axes.text(left, 0.2, column, fontweight="bold", **text)
    y = 1.4
    for row, height in zip(cells, heights, strict=True):
        axes.axhline(y - 0.1, color=GREY, linewidth=0.4, alpha=0.5)
        for left, cell in zip(lefts, row, strict=True):
            axes.text(left, y, cell, **text)
        y += height
    return png(made, title)


Row = Mapping[str, Any]


@dataclass(frozen=True)
class Output:
    """A finished figure or table."""

    picture: bytes  # PNG
    rows: Sequence[Row]  # of the CSV, all with the same columns
    published: str
    ours: str
    protocol: str
    seeds: str
    choices: Sequence[str] = field(default=())  # our choices where the paper is not specific
    notes: Sequence[str] = field(default=())

    def lines(self) -> list[str]:
        """Return the summary line, then one line per choice and note."""
        line = f"published: {self.published} | ours: {self.ours} | protocol: {self.protocol} | seeds: {self.seeds}"
        return [
            line,
            *(f"choice not from the paper: {choice}" for choice in self.choices),
            *(note if note.startswith("claim: ") else f"note: {note}" for note in self.notes),
        ]

    def write(self, name: str, title: str, out: Path) -> list[Path]:
        """Write NAME.png, NAME.csv and NAME.txt to the folder `out`, each atomically.

        Raises:
            UserError: the folder cannot be written.
        """
        text = "\n".join([f"{name}: {title}", *self.lines()]) + "\n"
        files = {"png": self.picture, "csv": _csv(self.rows), "txt": text.encode()}
        try:
            out.mkdir(parents=True, exist_ok=True)
            for suffix, data in files.items():
                write_atomically(out / f"{name}.{suffix}", data)
        except OSError as error:
            raise UserError(f"out: {out} cannot be written: {error.strerror}") from None
        return [out / f"{name}.{suffix}" for suffix in files]


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Format floats with seven digits, and None as an empty cell."""
    if value is None:
        return ""
    return f"{float(value):.7g}" if isinstance(value, float) else value


def with_interval(value: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """Format a number with its interval, "1.23 (1.1 to 1.3)", or without."""
    text = f"{value:.{digits}g}"
    return text if low is None or high is None else f"{text} ({low:.{digits}g} to {high:.{digits}g})"
