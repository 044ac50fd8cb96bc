"""The mark of a finished run, so that nobody replays its games only to hear that nothing is left to do."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from hadamax.training import checkpoints
from hadamax.training.checkpoints import BadCheckpoint

MARK = "finished.json"


class Finished(NamedTuple):
    """How a run ended."""

    frame: int
    score: str  # for people, with its source


def mark(run: Path, score: str) -> None:
    """Mark the run in folder `run` as finished with its newest checkpoint; where that cannot be written, do not."""
    last = next(checkpoints.newest_first(run / "checkpoints"))
    with contextlib.suppress(OSError):
        content = {"checkpoint": last.name, "sha256": _digest(last), "score": score}
        checkpoints.write_atomically(run / MARK, (json.dumps(content, indent=1) + "\n").encode())


def finished(run: Path) -> Finished | None:
    """How a run ended; None where it did not, or where its last checkpoint is not the marked one, whole."""
    try:
        content = json.loads((run / MARK).read_bytes())
        last = next(checkpoints.newest_first(run / "checkpoints"))
        if (content["checkpoint"], content["sha256"]) != (last.name, _digest(last)):
            return None
        return Finished(checkpoints.read(last).frame, str(content["score"]))
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError, BadCheckpoint):
        return None


def _digest(checkpoint: Path) -> str:
    """Of the manifest, which holds the digests of the rest."""
    return hashlib.sha256((checkpoint / checkpoints.MANIFEST).read_bytes()).hexdigest()
