"""Experience replay: storage of frames, sampling, priorities, persistence."""

from hadamax.replay.buffer import Batch, Replay

__all__ = ["Batch", "Replay"]
