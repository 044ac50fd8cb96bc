"""What a run has behind it: the mark of its end, so that nobody replays its games only to hear that nothing is left
to do, and its final evaluation."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from hadamax.training import checkpoints
from hadamax.training.checkpoints import BadCheckpoint

MARK = "finished.json"
EVALUATION = "evaluation.json"


class Finished(NamedTuple):
    """How a run ended."""

    frame: int
    score: str  # for people, with its source
    checkpoint: str = ""  # its last one's name


def mark(run: Path, score: str) -> None:
    """Mark the run in folder `run` as finished with its newest checkpoint; where that cannot be written, do not."""
    last = next(checkpoints.newest_first(run / "checkpoints"))
    with contextlib.suppress(OSError):
        content = {"checkpoint": last.name, "sha256": _digest(last), "score": score}
        checkpoints.write_atomically(run / MARK, (json.dumps(content, indent=1) + "\n").encode())


def finished(run: Path) -> Finished | None:
    """How a run ended; None where it did not, or where its last checkpoint is not the marked one, whole."""
    found = marked(run)
    try:
        return found and found._replace(frame=checkpoints.read(run / "checkpoints" / found.checkpoint).frame)
    except BadCheckpoint:
        return None


def marked(run: Path) -> Finished | None:
    """The same without reading the checkpoint's tensors: for a look at many runs."""
    try:
        content = json.loads((run / MARK).read_bytes())
        last = next(checkpoints.newest_first(run / "checkpoints"))
        if (content["checkpoint"], content["sha256"]) != (last.name, _digest(last)):
            return None
        return Finished(checkpoints.frame_of(last), str(content["score"]), last.name)
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError):
        return None


def evaluated(run: Path) -> dict[str, Any] | None:
    """The report of the final evaluation; None where there is none, or half of one."""
    try:
        report: dict[str, Any] = json.loads((run / EVALUATION).read_bytes())
        float(report["agent"]["mean"])
        return report
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _digest(checkpoint: Path) -> str:
    """Of the manifest, which holds the digests of the rest."""
    return hashlib.sha256((checkpoint / checkpoints.MANIFEST).read_bytes()).hexdigest()
