"""Logs of a run: CSV files, TensorBoard, and the progress bar."""

from __future__ import annotations

import csv
import io
import math
import os
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class CsvLog:
    """CSV file to which rows are appended; a resumed run cuts it back to its size at the checkpoint.

    Every row is in the file when `append` returns; `flush` waits until it is on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        with open(path, newline="") as file:
            self.columns: list[str] = next(csv.reader(file), [])

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows; the first row determines the columns.

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
        write_all(self._file, text.getvalue().encode())

    def size(self) -> int:
        return os.fstat(self._file).st_size

    def flush(self) -> None:
        os.fsync(self._file)

    def cut(self, size: int) -> None:
        """Truncate the file to `size` bytes."""
        os.ftruncate(self._file, min(size, self.size()))
        if size == 0:
            self.columns = []

    def close(self) -> None:
        os.close(self._file)


class Board:
    """Scalars for TensorBoard, in an event file of this process.

    `SummaryWriter` writes in a thread, where the error of a full disk cannot be caught.
    """

    def __init__(self, folder: Path, frame: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        stem = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        number = len(list(folder.glob(f"{stem}.*")))
        self._file = os.open(folder / f"{stem}.{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        self._write(Event(file_version="brain.Event:2"))
        # Tells readers to discard what was logged after the checkpoint that this process resumes.
        self._write(Event(step=frame + 1, session_log=SessionLog(status=SessionLog.START)))

    def add(self, scalars: dict[str, float], frame: int) -> None:
        """Write one value by each name.

        Raises:
            OSError: the disk is full.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(Event(step=frame, summary=Summary(value=values)))

    def close(self) -> None:
        os.close(self._file)

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        event.wall_time = time.time()
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        write_all(self._file, record.getvalue())


class Position(NamedTuple):
    """Sizes of a run's logs, and running values, at a checkpoint."""

    metrics_bytes: int
    episodes_bytes: int
    seconds: float
    logged_frame: int
    averages: dict[str, list[float]]  # metrics since the last row
    diagnostics_bytes: int = 0  # absent in early runs

    @classmethod
    def of(cls, about: dict[str, Any]) -> Position:
        """Read from a checkpoint, and check every value before a log is cut.

        Raises:
            ValueError: a value is missing or impossible.
        """
        averages = {str(name): [float(x) for x in values] for name, values in about["averages"].items()}
        whole = [int(about[name]) for name in ("metrics_bytes", "episodes_bytes", "logged_frame")]
        whole.append(int(about.get("diagnostics_bytes", 0)))
        seconds = float(about["seconds"])
        numbers = [*whole, seconds, *(x for values in averages.values() for x in values)]
        if not all(map(math.isfinite, numbers)) or min(*whole, seconds) < 0:
            raise ValueError("its log positions are invalid")
        return cls(whole[0], whole[1], seconds, whole[2], averages, whole[3])


START = Position(0, 0, 0.0, 0, {})


def write_all(file: int, data: bytes) -> None:
    """Write to an open file without buffering, so that an error leaves nothing pending."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, none if it does not exist. An incomplete last row is left out."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(io.StringIO(whole, newline="")))


SECONDS_BETWEEN_LINES = 30.0


class ProgressDisplay:
    """Frames done, frames/s, time left and the latest score, on standard error."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.first = total, done
        self._start = time.monotonic()
        self._said = -float("inf")
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = ("{task.fields[frames]} frames", "{task.fields[rate]}", "{task.fields[score]}")
            texts = [TextColumn(column) for column in columns]
            self._bar = Bar(
                BarColumn(20),
                TaskProgressColumn(),
                *texts,
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("", total=total, completed=done, frames=f"{done:,}", rate="", score="")

    def __enter__(self) -> ProgressDisplay:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, score: str, shares: str) -> None:
        now = time.monotonic()
        rate = (done - self.first) / max(now - self._start, 1e-9)
        if self._bar:
            self._bar.update(self._task, completed=done, frames=f"{done:,}", rate=f"{rate:,.0f}/s", score=score)
        elif now - self._said >= SECONDS_BETWEEN_LINES or done == self.total:
            self._said = now
            left = (self.total - done) / max(rate, 1e-9)
            print(
                f"{done:,} of {self.total:,} frames, {rate:,.0f} frames/s ({shares}), {duration(left)} left; {score}",
                file=sys.stderr,
                flush=True,
            )


def duration(seconds: float) -> str:
    """Format seconds: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
