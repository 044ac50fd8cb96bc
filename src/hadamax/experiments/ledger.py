"""What happened in a study, a row an event: a file that a person can read and several processes can append to."""

from __future__ import annotations

import csv
import io
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from hadamax.training.logs import read_csv, write_all

COLUMNS = ("time", "host", "run", "event", "detail")
STARTED, ENDED, FAILED, ASIDE = "started", "ended", "failed", "set aside"


class Ledger:
    """`ledger.csv` of a study's folder."""

    def __init__(self, study: Path) -> None:
        self.path = study / "ledger.csv"

    def add(self, run: str, event: str, detail: str = "") -> None:
        """Append a row and wait until the disk has it.

        Raises:
            OSError: the disk is full.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        try:
            if not os.fstat(file).st_size:
                writer.writerow(COLUMNS)
            writer.writerow((now, socket.gethostname(), run, event, " ".join(detail.split())))
            write_all(file, text.getvalue().encode())
            os.fsync(file)
        finally:
            os.close(file)

    def failures(self, run: str) -> list[str]:
        """What a run failed of since it last ended well, oldest first."""
        rows = [row for row in read_csv(self.path) if row.get("run") == run]
        since = [i for i, row in enumerate(rows) if row.get("event") == ENDED]
        return [row["detail"] for row in rows[since[-1] + 1 if since else 0 :] if row.get("event") == FAILED]

    def set_aside(self) -> dict[str, str]:
        """The runs that were given up, and why."""
        last = {row["run"]: row for row in read_csv(self.path) if row.get("run")}
        return {name: row.get("detail", "") for name, row in last.items() if row.get("event") == ASIDE}
