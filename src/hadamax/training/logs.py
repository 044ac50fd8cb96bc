"""What a run writes while it goes on: rows of CSV, TensorBoard."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class CsvLog:
    """A CSV file that is appended to row by row, and cut back to where a checkpoint saw it.

    Every row is in the file when `append` returns; `flush` waits until it is on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        with open(path, newline="") as file:
            self.columns: list[str] = next(csv.reader(file), [])

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows; the first one ever written names the columns.

        Raises:
            OSError: the disk is full.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in rows:
            if not self.columns:
                self.columns = list(row)
                writer.writerow(self.columns)
            writer.writerow([row.get(name, "") for name in self.columns])
        data = memoryview(text.getvalue().encode())
        while data:
            data = data[os.write(self._file, data) :]

    def size(self) -> int:
        return os.fstat(self._file).st_size

    def flush(self) -> None:
        os.fsync(self._file)

    def cut(self, size: int) -> None:
        """Forget what was written after the file had `size` bytes."""
        os.ftruncate(self._file, min(size, self.size()))
        if size == 0:
            self.columns = []

    def close(self) -> None:
        os.close(self._file)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where there is no file. A last row cut by a kill is left out."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(io.StringIO(whole, newline="")))
