"""Tables that are rendered both on the page and as CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hadamax.studies.statistics import Interval

Value = str | float | int | None
NOTHING = "-"


class Group(NamedTuple):
    """Runs that a number is computed from, for a link to them; empty fields match any."""

    variant: str = ""
    game: str = ""


class Cell(NamedTuple):
    """Displayed text, values for the CSV file, and link target of a cell."""

    text: str
    values: tuple[Value, ...]  # one per part of the column; the page sorts by the first
    runs: Group | None = None
    href: str = ""


class Column(NamedTuple):
    """Displayed title and CSV columns of a column."""

    title: str
    parts: tuple[str, ...]
    number: bool = False


class Table(NamedTuple):
    """A table; the first cell of each row is its name."""

    name: str  # of the CSV file and of the anchor on the page
    caption: str
    columns: tuple[Column, ...]
    rows: list[list[Cell]]
    searched: bool = False  # show a search field

    def to_csv(self) -> str:
        return csv_text(
            [p for column in self.columns for p in column.parts],
            ([v for c in row for v in c.values] for row in self.rows),
        )


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def words(text: object, runs: Group | None = None, href: str = "") -> Cell:
    return Cell(str(text), (str(text),), runs, href)


def number(value: float | None, form: str = ",.2f", runs: Group | None = None, suffix: str = "") -> Cell:
    """Format a number; a dash if it is None."""
    return Cell(NOTHING if value is None else f"{value:{form}}{suffix}", (value,), runs)


def interval(value: Interval | None, form: str = ".2f", runs: Group | None = None) -> Cell:
    """Format an estimate with its interval, if it has one: three CSV columns."""
    if value is None:
        return Cell(NOTHING, (None, None, None))
    return Cell(in_words(value, form), (value.estimate, value.low, value.high), runs)


def in_words(value: Interval, form: str = ".2f") -> str:
    if value.low is None or value.high is None:
        return f"{value.estimate:{form}}"
    return f"{value.estimate:{form}} ({value.low:{form}} to {value.high:{form}})"


def parts(name: str) -> tuple[str, str, str]:
    """Return the CSV columns of an interval."""
    return name, f"{name}_low", f"{name}_high"


def p_value(value: float | None, runs: Group | None = None) -> Cell:
    """Format a p-value with three digits, or as "< 0.001"."""
    if value is None:
        return Cell(NOTHING, (None,))
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", (value,), runs)


def text(title: str, name: str = "") -> Column:
    """Define a column of text."""
    return Column(title, (name or title.lower().replace(" ", "_"),))


def figure(title: str, name: str = "") -> Column:
    """Define a column of numbers."""
    return Column(title, (name or title.lower().replace(" ", "_"),), number=True)


def spread(title: str, name: str) -> Column:
    """Define a column of numbers with intervals."""
    return Column(title, parts(name), number=True)
