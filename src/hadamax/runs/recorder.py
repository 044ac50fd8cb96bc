"""Records of a run: rows of metrics, games and diagnostics, TensorBoard, running scores, time by activity."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from hadamax.algorithms import Activity, Algorithm, FinishedGame, Iteration
from hadamax.errors import UserError
from hadamax.runs.diagnostics import scalars
from hadamax.runs.folder import RunFolder
from hadamax.runs.logs import Board, CsvLog, Position, read_csv
from hadamax.runs.machine import resident_mib
from hadamax.runs.settings import RunSettings
from hadamax.runs.tracking import Tracker

# Games averaged in a running score; fewer of the test environments, which finish fewer games.
WINDOWS = {"training": 100, "test": 20}
WALL_CLOCK = ("seconds", "frames_per_second", "environment", "inference", "learning", "memory_mib")


class Recorder:
    """Logs of a run in progress; `seconds` is its training time, in this and earlier processes.

    Raises:
        OSError: from every method that writes, when the disk is full.
    """

    def __init__(
        self, folder: RunFolder, algorithm: Algorithm, settings: RunSettings, say: Callable[[str], None]
    ) -> None:
        self.folder, self.algorithm, self.settings, self.say = folder, algorithm, settings, say
        self.seconds = 0.0
        self.logged_frame = 0
        self._averages: dict[str, list[float]] = {}
        self._metrics, self._episodes = CsvLog(folder.metrics), CsvLog(folder.episodes)
        self._diagnostics = CsvLog(folder.diagnostics)
        self._logs = (self._metrics, self._episodes, self._diagnostics)
        self._scores = {source: deque[float](maxlen=games) for source, games in WINDOWS.items()}
        self._scored_game = ""

    @contextmanager
    def training(self) -> Iterator[None]:
        """Context in which the clock runs, and TensorBoard and Weights & Biases are written."""
        self._started = time.perf_counter() - self.seconds
        self._first_seconds, self._first_frame = self.seconds, self.algorithm.frames
        self._last_row = (self.seconds, dict(self.algorithm.clock.seconds))
        with ExitStack() as stack:
            board = stack.enter_context(closing(Board(self.folder.path, self.algorithm.frames)))
            self._boards: list[Board | Tracker] = [board]
            if self.settings.wandb:
                tracker = Tracker(self.folder, self.say)
                self._boards.append(stack.enter_context(closing(tracker)))
            yield

    def tick(self) -> None:
        """Update `seconds`."""
        self.seconds = time.perf_counter() - self._started

    def record(self, iteration: Iteration, *, last: bool) -> None:
        """Record an iteration; write a row of metrics if one is due, and after the `last`."""
        for game in iteration.games:
            self._score(game.source, game.raw_return, game.game)
        if iteration.games:
            fields = FinishedGame._fields if self._game() else FinishedGame._fields[:-1]
            self._episodes.append({name: getattr(game, name) for name in fields} for game in iteration.games)
        for name, value in iteration.metrics.items():
            self._averages.setdefault(name, []).append(value)
        if self.algorithm.frames - self.logged_frame >= self.settings.log_every or last:
            self._write_row(self.algorithm.frames)

    def _write_row(self, frame: int) -> None:
        row: dict[str, Any] = {"frame": frame, "game": self._game()} if self._game() else {"frame": frame}
        row.update({name: sum(values) / len(values) for name, values in self._averages.items()})
        for source, scores in self._scores.items():
            row[f"{source}_return"] = sum(scores) / len(scores) if scores else ""
        row.update(self._wall_clock(frame))
        self._metrics.append([row])
        for board in self._boards:
            board.add({k: v for k, v in row.items() if k not in ("frame", "game") and v != ""}, frame)
        self._averages = {}
        self.logged_frame = frame

    def _game(self) -> str:
        return self.algorithm.environment.sequence_game

    def _score(self, source: str, raw_return: float, game: str) -> None:
        """Add a score to the running ones, which start again with each game of a sequence."""
        if game != self._scored_game:
            for scores in self._scores.values():
                scores.clear()
        self._scored_game = game
        self._scores[source].append(raw_return)

    def record_diagnostics(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows of a measurement."""
        if rows:
            self._diagnostics.append(rows)
            for board in self._boards:
                board.add(scalars(rows), self.algorithm.frames)

    def _wall_clock(self, frame: int) -> dict[str, float]:
        """Return the columns that differ between repetitions: WALL_CLOCK."""
        seconds_before, clock_before = self._last_row
        seconds, clock = self.seconds, self.algorithm.clock.seconds
        passed = max(seconds - seconds_before, 1e-9)
        self._last_row = (seconds, dict(clock))
        return {
            "seconds": round(seconds, 3),
            "frames_per_second": round((frame - self.logged_frame) / passed, 1),
            **{name: round((s - clock_before.get(name, 0.0)) / passed, 4) for name, s in sorted(clock.items())},
            "memory_mib": round(resident_mib(), 1),
        }

    # -- summaries ---------------------------------------------------------------------------------------------------

    def latest_score(self) -> str:
        """Return the running scores with their source and number of games."""
        labels = {"training": "training games", "test": "greedy test games"}
        parts = [
            f"{labels[k]} {sum(v) / len(v):,.1f} (mean of the last {len(v)})" for k, v in self._scores.items() if v
        ]
        return ", ".join(parts) or "no game finished yet"

    def throughput(self) -> str:
        """Return the frames per second of this process, and its time by activity."""
        rate = (self.algorithm.frames - self._first_frame) / self.seconds_here
        return f"{rate:,.0f} frames/s ({self.shares()})"

    @property
    def seconds_here(self) -> float:
        """Training time in this process, at the last `tick`."""
        return max(self.seconds - self._first_seconds, 1e-9)

    def shares(self) -> str:
        """Return the share of time of each activity."""
        clock = self.algorithm.clock.seconds
        total = sum(clock.values()) or 1.0
        order = (Activity.ENVIRONMENT, Activity.INFERENCE, Activity.LEARNING)
        return ", ".join(f"{name} {clock.get(name, 0.0) / total:.0%}" for name in order)

    # -- resuming ---------------------------------------------------------------------------------------------------

    def position(self) -> dict[str, Any]:
        """Return the sizes of the logs and the running score, for a checkpoint; `Position.of` reads them."""
        source = "test" if self._scores["test"] else "training"
        scores = self._scores[source]
        return {
            "score": sum(scores) / len(scores) if scores else None,
            "score_source": source,
            "seconds": self.seconds,
            "metrics_bytes": self._metrics.size(),
            "episodes_bytes": self._episodes.size(),
            "diagnostics_bytes": self._diagnostics.size(),
            "averages": {name: list(values) for name, values in self._averages.items()},
            "logged_frame": self.logged_frame,
        }

    def cut(self, position: Position) -> None:
        """Cut the logs back to their sizes at a checkpoint.

        Raises:
            UserError: `episodes.csv` is not what a run writes.
        """
        self.seconds, self._averages = position.seconds, dict(position.averages)
        self.logged_frame = position.logged_frame
        self._metrics.cut(position.metrics_bytes)
        self._episodes.cut(position.episodes_bytes)
        self._diagnostics.cut(position.diagnostics_bytes)
        try:
            for row in read_csv(self.folder.episodes):
                self._score(row["source"], float(row["raw_return"]), row.get("game", ""))
        except (KeyError, ValueError, TypeError):
            raise UserError(f"run: {self.folder.episodes} is damaged: its rows are invalid") from None

    def flush(self) -> None:
        """Flush the CSV files to disk."""
        for log in self._logs:
            log.flush()

    def close(self) -> None:
        for log in self._logs:
            log.close()
