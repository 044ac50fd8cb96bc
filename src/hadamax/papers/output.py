"""Result of a figure or table: a picture, its numbers as CSV, and a text that compares them with the paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hadamax.errors import UserError
from hadamax.files import write_atomically

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
