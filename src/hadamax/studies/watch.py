"""Progress display of a running study: a live table on a terminal, otherwise a line every minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from hadamax.studies.ledger import Ledger
from hadamax.studies.runs import Run, State
from hadamax.studies.status_table import states, summary, table

SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_TABLES = 2.0


class Watch:
    """Progress display; call it often, it updates at its own interval."""

    def __init__(self, study: Path, runs: Sequence[Run]) -> None:
        self.study, self.frames = study, {run.name: run.frames for run in runs}
        self._done: set[str] = set()
        self._next = 0.0
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        terminal = sys.stderr.isatty()
        self._next = now + (SECONDS_BETWEEN_TABLES if terminal else SECONDS_BETWEEN_LINES)
        aside = Ledger(self.study).set_aside()
        found = states(self.study, self.frames, aside, self._done)
        self._done.update(name for name, state in found.items() if state == State.DONE)
        if terminal:
            self._live.update(table(self.study, self.frames, found, aside, everything=False), refresh=True)
        else:
            print(summary(found), file=sys.stderr, flush=True)
