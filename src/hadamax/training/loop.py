"""The one run loop: iterate, log, checkpoint, stop.

A run comes back bit for bit after a kill at any moment: the loop goes on from the last checkpoint, which holds the
learner, the generators and the games, and cuts the logs back to what that checkpoint had seen.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import torch

from hadamax.algorithms import Activity, Algorithm, FinishedGame
from hadamax.errors import UserError
from hadamax.training import checkpoints
from hadamax.training.checkpoints import BadCheckpoint, Checkpoint, NewerCheckpoint
from hadamax.training.folder import RunFolder
from hadamax.training.interrupts import Interrupted, Interrupts
from hadamax.training.logs import Board, CsvLog, Position, read_csv
from hadamax.training.machine import resident_mib
from hadamax.training.progress import Progress
from hadamax.training.settings import RunSettings
from hadamax.training.shortage import advice, is_shortage

# Games that a running score averages over. The few test environments finish fewer games: more of them would be old.
WINDOWS = {"training": 100, "test": 20}
WALL_CLOCK = ("seconds", "frames_per_second", "environment", "inference", "learning", "memory_mib")
# Above this a copy of the state is taken before each iteration, so that an interruption need not wait for its end.
LONG_ITERATION_SECONDS = 2.0


class Loop:
    """A run in progress. `train` returns whether the run is finished; False means interrupted."""

    def __init__(self, folder: RunFolder, settings: RunSettings, algorithm: Algorithm, say: Callable[[str], None]):
        self.folder, self.settings, self.algorithm, self.say = folder, settings, algorithm, say
        self.seconds = 0.0  # trained before this process, then in all
        self.averages: dict[str, list[float]] = {}
        self.logged_frame = self.checkpointed_frame = 0
        with self._writing():
            self.metrics_log, self.episodes_log = CsvLog(folder.metrics), CsvLog(folder.episodes)
        self.scores = {source: deque[float](maxlen=games) for source, games in WINDOWS.items()}

    # -- the loop -----------------------------------------------------------------------------------------------------

    def train(self) -> bool:
        self._started = time.perf_counter() - self.seconds
        self._first_seconds, self._first_frame = self.seconds, self.algorithm.frames
        self._last_row = (self.seconds, dict(self.algorithm.clock.seconds))
        frames = self.algorithm.frames
        with (
            self._writing(),
            closing(Board(self.folder.path, frames)) as self._board,
            Interrupts() as interrupts,
            Progress(self.settings.frames, frames) as progress,
        ):
            return self._iterate(interrupts, progress)

    def close(self) -> None:
        """Close the logs and let other processes have the folder."""
        self.metrics_log.close()
        self.episodes_log.close()
        self.folder.unlock()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what the disk refuses into a line for the person."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            path = self.folder.path
            raise UserError(
                f"out: {path} cannot be written: {error.strerror or error}; {self._last_good()}; "
                f"make room, then: hadamax resume {path}"
            ) from None

    def _iterate(self, interrupts: Interrupts, progress: Progress) -> bool:
        took = 0.0
        while not self.finished():
            saved = self._capture() if took > LONG_ITERATION_SECONDS else None
            start = time.perf_counter()
            try:
                interrupts.breakable = saved is not None
                if saved and interrupts.pending:
                    raise Interrupted
                iteration = self.algorithm.iteration()
                interrupts.breakable = False
            except Interrupted:
                assert saved is not None
                self._write(saved)
                return False
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error):
                    raise
                raise UserError(f"{advice(self.algorithm, error)}; {self._last_good()}") from None
            took = time.perf_counter() - start
            self.seconds = time.perf_counter() - self._started
            self._require_finite(iteration.metrics)
            self._record(iteration.metrics, iteration.games)
            progress.update(self.algorithm.frames, self.latest_score(), self._shares())
            if interrupts.pending or self._checkpoint_due():
                self.checkpoint()
            if interrupts.pending:
                return False
        if self.checkpointed_frame != self.algorithm.frames:
            self.checkpoint()
        return True

    def finished(self) -> bool:
        """No whole iteration is left, or the minutes are over."""
        minutes = self.settings.max_minutes
        if minutes is not None and self.seconds >= 60 * minutes:
            return True
        return self.algorithm.frames + self.algorithm.frames_per_iteration > self.settings.frames

    def _require_finite(self, metrics: dict[str, float]) -> None:
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if not bad:
            weights = self.algorithm.network.state_dict()
            bad = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
        if bad:
            raise UserError(
                f"{bad[0]} is not a finite number at frame {self.algorithm.frames:,}: training diverged and was "
                f"stopped; {self._last_good()}; try a smaller learning_rate or precision float32"
            )

    # -- what is written ----------------------------------------------------------------------------------------------

    def _record(self, metrics: dict[str, float], games: list[FinishedGame]) -> None:
        for game in games:
            self.scores[game.source].append(game.raw_return)
        if games:
            self.episodes_log.append(game._asdict() for game in games)
        for name, value in metrics.items():
            self.averages.setdefault(name, []).append(value)
        frame = self.algorithm.frames
        if frame - self.logged_frame < self.settings.log_every and not self.finished():
            return
        row: dict[str, Any] = {"frame": frame}
        row.update({name: sum(values) / len(values) for name, values in self.averages.items()})
        for source, scores in self.scores.items():
            row[f"{source}_return"] = sum(scores) / len(scores) if scores else ""
        row.update(self._wall_clock(frame))
        self.metrics_log.append([row])
        self._board.add({k: v for k, v in row.items() if k != "frame" and v != ""}, frame)
        self.averages = {}
        self.logged_frame = frame

    def _wall_clock(self, frame: int) -> dict[str, float]:
        """Columns that differ between repetitions: WALL_CLOCK."""
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

    def latest_score(self) -> str:
        """The running scores with their source, for people."""
        labels = {"training": "training games", "test": "greedy test games"}
        parts = [f"{labels[k]} {sum(v) / len(v):,.1f}" for k, v in self.scores.items() if v]
        return ", ".join(parts) or "no game finished yet"

    def throughput(self) -> str:
        """Frames a second of this process, and where its time went."""
        seconds = self.seconds - self._first_seconds
        rate = (self.algorithm.frames - self._first_frame) / max(seconds, 1e-9)
        return f"{rate:,.0f} frames/s ({self._shares()})"

    def _shares(self) -> str:
        clock = self.algorithm.clock.seconds
        total = sum(clock.values()) or 1.0
        order = (Activity.ENVIRONMENT, Activity.INFERENCE, Activity.LEARNING)
        return ", ".join(f"{name} {clock.get(name, 0.0) / total:.0%}" for name in order)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        frame, last = self.algorithm.frames, self.checkpointed_frame
        wanted = any(last < at <= frame for at in self.settings.keep_checkpoints_at)
        return wanted or frame - last >= self.settings.checkpoint_every

    def _capture(self) -> Checkpoint:
        scores = self.scores["test"] or self.scores["training"]
        about = {
            "score": sum(scores) / len(scores) if scores else None,
            "seconds": self.seconds,
            "metrics_bytes": self.metrics_log.size(),
            "episodes_bytes": self.episodes_log.size(),
            "averages": {name: list(values) for name, values in self.averages.items()},
            "logged_frame": self.logged_frame,
        }
        return checkpoints.capture(self.algorithm.frames, self.algorithm.state_dict(), about)

    def checkpoint(self) -> None:
        self._write(self._capture())

    def _write(self, checkpoint: Checkpoint) -> None:
        self.metrics_log.flush()
        self.episodes_log.flush()
        checkpoints.write(self.folder.checkpoints, checkpoint)
        self.checkpointed_frame = checkpoint.frame
        kept = self.settings.keep_checkpoints, self.settings.keep_checkpoints_at
        checkpoints.tidy(self.folder.checkpoints, checkpoint.frame, *kept)

    def _last_good(self) -> str:
        paths = checkpoints.newest_first(self.folder.checkpoints)
        last = next((path for path in paths if checkpoints.frame_of(path) <= self.checkpointed_frame), None)
        return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"

    def restore(self) -> None:
        """Go on from the newest checkpoint that can be read, or from the start where there is none at all.

        Raises:
            UserError: there are checkpoints, and none can be used, or one that a newer hadamax wrote.
        """
        reasons = []
        paths = list(checkpoints.newest_first(self.folder.checkpoints))
        for path in paths:
            try:
                self._load(checkpoints.read(path))
                return
            except NewerCheckpoint as error:  # an older one would cut the logs under it
                raise UserError(f"run: {path} was {error}; this hadamax reads {checkpoints.FORMAT}") from None
            except (UserError, OSError):
                raise
            except Exception as error:  # whatever a hostile one makes the algorithm or the games raise
                reason = str(error) if isinstance(error, BadCheckpoint) else checkpoints.one_line(error)
                reasons.append(f"{path.name}: {reason}")
                if path != paths[-1]:
                    self.say(f"checkpoint {path.name} cannot be used ({reason}); trying the one before")
        if reasons:
            raise UserError(f"run: no checkpoint of {self.folder.path} can be used ({reasons[-1]})")
        with self._writing():
            self.metrics_log.cut(0)
            self.episodes_log.cut(0)
        self.algorithm.reset()

    def _load(self, checkpoint: Checkpoint) -> None:
        position = Position.of(checkpoint.about)
        self.algorithm.load_state_dict({"network": checkpoint.weights, **checkpoint.state})
        if self.algorithm.frames != checkpoint.frame:
            raise BadCheckpoint(f"frame {checkpoint.frame} holds the state of frame {self.algorithm.frames}")
        self.seconds, self.averages = position.seconds, position.averages
        self.logged_frame, self.checkpointed_frame = position.logged_frame, checkpoint.frame
        with self._writing():
            self.metrics_log.cut(position.metrics_bytes)
            self.episodes_log.cut(position.episodes_bytes)
        try:
            for row in read_csv(self.folder.episodes):
                self.scores[row["source"]].append(float(row["raw_return"]))
        except (KeyError, ValueError, TypeError):
            raise UserError(f"run: {self.folder.episodes} is damaged: not the rows that a run writes") from None
