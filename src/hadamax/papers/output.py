"""What a figure or table gives: a picture, numbers, and a line that says what they are worth."""

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
    """A figure or table, done."""

    picture: bytes  # PNG
    rows: Sequence[Row]  # of the CSV, all with the same columns
    published: str
    ours: str
    protocol: str
    seeds: str
    choices: Sequence[str] = field(default=())  # what the paper leaves open, and what we chose
    notes: Sequence[str] = field(default=())

    def lines(self) -> list[str]:
        """The line, then the choices and notes, one each."""
        line = f"published: {self.published} | ours: {self.ours} | protocol: {self.protocol} | seeds: {self.seeds}"
        return [
            line,
            *(f"our choice, not in the paper: {choice}" for choice in self.choices),
            *(note if note.startswith("claim: ") else f"note: {note}" for note in self.notes),
        ]

    def write(self, name: str, title: str, out: Path) -> list[Path]:
        """NAME.png, NAME.csv and NAME.txt in folder `out`, each whole or not at all.

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
    """Numbers to seven digits, nothing for what there is not."""
    if value is None:
        return ""
    return f"{float(value):.7g}" if isinstance(value, float) else value


def with_interval(value: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """1.23 (1.1 to 1.3), or the number alone."""
    text = f"{value:.{digits}g}"
    return text if low is None or high is None else f"{text} ({low:.{digits}g} to {high:.{digits}g})"
