"""The one run loop: iterate, log, checkpoint, stop.

A killed run resumes bit-for-bit: the loop loads the last checkpoint, which holds the learner, the random generators and
the games, and cuts the logs back to their sizes at that checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from hadamax.algorithms import Algorithm
from hadamax.errors import UserError, one_line
from hadamax.runs import checkpoints
from hadamax.runs.checkpoints import BadCheckpoint, Checkpoint, NewerCheckpoint
from hadamax.runs.diagnostics import Diagnostics
from hadamax.runs.folder import RunFolder, mark
from hadamax.runs.interrupts import Interrupted, Interrupts
from hadamax.runs.logs import START, Position, ProgressDisplay
from hadamax.runs.machine import advice, is_shortage
from hadamax.runs.recorder import Recorder
from hadamax.runs.settings import RunSettings

# Longer iterations start with a copy of the state, so that an interruption need not wait for their end.
LONG_ITERATION_SECONDS = 2.0


class Loop:
    """A run in progress. `train` returns True if the run is finished, False if it was interrupted."""

    def __init__(
        self,
        folder: RunFolder,
        settings: RunSettings,
        algorithm: Algorithm,
        diagnostics: Diagnostics,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.settings, self.algorithm, self.say = folder, settings, algorithm, say
        self.diagnostics = diagnostics
        self.checkpointed_frame = 0
        with self._writing():
            self.recorder = Recorder(folder, algorithm, settings, say)

    # -- the loop -----------------------------------------------------------------------------------------------------

    def train(self) -> bool:
        """Train to the end and mark the run as finished; return False if it was interrupted."""
        with (
            self._writing(),
            self.recorder.training(),
            Interrupts() as interrupts,
            ProgressDisplay(self.settings.frames, self.algorithm.frames) as progress,
        ):
            done = self._iterate(interrupts, progress)
        if done:
            mark(self.folder.path, self.recorder.latest_score())
        return done

    def close(self) -> None:
        """Close the logs and release the folder."""
        self.recorder.close()
        self.folder.unlock()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Report a failed write as a UserError."""
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

    def _iterate(self, interrupts: Interrupts, progress: ProgressDisplay) -> bool:
        took = 0.0
        while not self.finished():
            saved = self._capture() if took > LONG_ITERATION_SECONDS else None
            self.diagnostics.before_iteration()
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
            self.recorder.tick()
            self._require_finite(iteration.metrics)
            self.recorder.record(iteration, last=self.finished())
            self.recorder.record_diagnostics(self.diagnostics.after_iteration())
            progress.update(self.algorithm.frames, self.recorder.latest_score(), self.recorder.shares())
            if interrupts.pending or self._checkpoint_due():
                self.checkpoint()
            if interrupts.pending:
                return False
        if self.checkpointed_frame != self.algorithm.frames:
            self.checkpoint()
        return True

    def finished(self) -> bool:
        """Return True if no whole iteration is left, or `max_minutes` have passed."""
        minutes = self.settings.max_minutes
        if minutes is not None and self.recorder.seconds >= 60 * minutes:
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

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        frame, last = self.algorithm.frames, self.checkpointed_frame
        wanted = any(last < at <= frame for at in self.settings.keep_checkpoints_at)
        return wanted or frame - last >= self.settings.checkpoint_every

    def _capture(self) -> Checkpoint:
        return checkpoints.capture(self.algorithm.frames, self.algorithm.state_dict(), self.recorder.position())

    def checkpoint(self) -> None:
        self._write(self._capture())

    def _write(self, checkpoint: Checkpoint) -> None:
        self.recorder.flush()
        checkpoints.write(self.folder.checkpoints, checkpoint)
        self.checkpointed_frame = checkpoint.frame
        kept = self.settings.keep_checkpoints, self.settings.keep_checkpoints_at
        checkpoints.tidy(self.folder.checkpoints, checkpoint.frame, *kept)

    def _last_good(self) -> str:
        paths = checkpoints.newest_first(self.folder.checkpoints)
        last = next((path for path in paths if checkpoints.frame_of(path) <= self.checkpointed_frame), None)
        return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"

    def restore(self) -> None:
        """Restore the newest readable checkpoint, or start anew if there is none.

        Raises:
            UserError: there are checkpoints, and none can be used, or one that a newer hadamax wrote.
        """
        reasons = []
        paths = list(checkpoints.newest_first(self.folder.checkpoints))
        for path in paths:
            try:
                self._load(checkpoints.read(path))
                return
            except NewerCheckpoint as error:  # an older checkpoint would cut logs that this one needs
                raise UserError(f"run: {path} was {error}; this hadamax reads {checkpoints.FORMAT}") from None
            except (UserError, OSError):
                raise
            except Exception as error:  # hostile content may raise anything
                reason = str(error) if isinstance(error, BadCheckpoint) else one_line(error)
                reasons.append(f"{path.name}: {reason}")
                if path != paths[-1]:
                    self.say(f"checkpoint {path.name} cannot be used ({reason}); trying the one before")
        if reasons:
            raise UserError(f"run: no checkpoint of {self.folder.path} can be used ({reasons[-1]})")
        with self._writing():
            self.recorder.cut(START)
        self.algorithm.reset()

    def _load(self, checkpoint: Checkpoint) -> None:
        position = Position.of(checkpoint.about)
        self.algorithm.load_state_dict({"network": checkpoint.weights, **checkpoint.state})
        if self.algorithm.frames != checkpoint.frame:
            raise BadCheckpoint(f"frame {checkpoint.frame} holds the state of frame {self.algorithm.frames}")
        self.checkpointed_frame = checkpoint.frame
        with self._writing():
            self.recorder.cut(position)
