"""Ledger of a study: a CSV file of events, one row per event, to which several processes can append."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import socket
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from hadamax.runs.logs import read_csv, write_all

COLUMNS = ("time", "host", "run", "event", "detail")
STARTED, ENDED, FAILED, ASIDE, AGAIN = "started", "ended", "failed", "set aside", "again"


class Ledger:
    """`ledger.csv` of a study's folder."""

    def __init__(self, study: Path) -> None:
        self.path = study / "ledger.csv"

    def add(self, run: str, event: str, detail: str = "", *, once: bool = False) -> None:
        """Append a row and flush it to disk; with `once`, only if the run has no such event yet.

        Raises:
            OSError: the row cannot be written, for example because the disk is full.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            if once and event in self.events(run):
                return
            if not size:
                writer.writerow(COLUMNS)
            elif os.pread(file, 1, size - 1) != b"\n":  # an incomplete row, after a kill or on a full disk
                text.write("\n")
            writer.writerow((now, socket.gethostname(), run, event, " ".join(detail.split())))
            write_all(file, text.getvalue().encode())
            os.fsync(file)
        finally:
            os.close(file)

    def events(self, run: str) -> list[str]:
        """Return a run's events, oldest first."""
        return [row["event"] for row in self._rows() if row["run"] == run]

    def failures(self) -> dict[str, list[str]]:
        """Return each run's failures since it was last retried, oldest first."""
        found: dict[str, list[str]] = {}
        for row in self._rows():
            if row["event"] == FAILED:
                found.setdefault(row["run"], []).append(row["detail"])
            elif row["event"] == AGAIN:
                found.pop(row["run"], None)
        return found

    def set_aside(self) -> dict[str, str]:
        """Return the runs that were set aside after repeated failures, with the reasons."""
        found: dict[str, str] = {}
        for row in self._rows():
            if row["event"] == ASIDE:
                found[row["run"]] = row["detail"]
            elif row["event"] in (AGAIN, ENDED):
                found.pop(row["run"], None)
        return found

    def try_again(self, runs: Collection[str]) -> None:
        """Mark set-aside runs for a retry and discard their failures."""
        for run in self.set_aside().keys() & set(runs):
            self.add(run, AGAIN)

    def _rows(self) -> list[dict[str, str]]:
        """Return the complete rows."""
        return [row for row in read_csv(self.path) if None not in row.values() and None not in row]
