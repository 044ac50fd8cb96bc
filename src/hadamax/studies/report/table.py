"""A table once: as the page shows it and as a CSV file holds it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hadamax.studies.statistics import Interval

Value = str | float | int | None
NOTHING = "-"


class Group(NamedTuple):
    """The runs that a number is of: a link to them. Empty: any."""

    variant: str = ""
    game: str = ""


class Cell(NamedTuple):
    """What a reader sees, what a CSV file gets, and where a link leads."""

    text: str
    values: tuple[Value, ...]  # one for each of the column's parts; the page sorts by the first
    runs: Group | None = None
    href: str = ""


class Column(NamedTuple):
    """A heading, and the names of what a CSV file has of it."""

    title: str
    parts: tuple[str, ...]
    number: bool = False


class Table(NamedTuple):
    """Rows of one kind; the first cell of each names it."""

    name: str  # of the CSV file, and the anchor in the page
    caption: str
    columns: tuple[Column, ...]
    rows: list[list[Cell]]
    searched: bool = False  # long enough to want a search field

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
    """A number in a format; a dash where there is none."""
    return Cell(NOTHING if value is None else f"{value:{form}}{suffix}", (value,), runs)


def interval(value: Interval | None, form: str = ".2f", runs: Group | None = None) -> Cell:
    """An estimate with its interval where it has one: three parts."""
    if value is None:
        return Cell(NOTHING, (None, None, None))
    return Cell(in_words(value, form), (value.estimate, value.low, value.high), runs)


def in_words(value: Interval, form: str = ".2f") -> str:
    if value.low is None or value.high is None:
        return f"{value.estimate:{form}}"
    return f"{value.estimate:{form}} ({value.low:{form}} to {value.high:{form}})"


def parts(name: str) -> tuple[str, str, str]:
    """The CSV columns of an interval."""
    return name, f"{name}_low", f"{name}_high"


def p_value(value: float | None, runs: Group | None = None) -> Cell:
    """Three digits; below a thousandth it says so."""
    if value is None:
        return Cell(NOTHING, (None,))
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", (value,), runs)


def text(title: str, name: str = "") -> Column:
    """A column of words."""
    return Column(title, (name or title.lower().replace(" ", "_"),))


def figure(title: str, name: str = "") -> Column:
    """A column of numbers."""
    return Column(title, (name or title.lower().replace(" ", "_"),), number=True)


def spread(title: str, name: str) -> Column:
    """A column of numbers with their intervals."""
    return Column(title, parts(name), number=True)
