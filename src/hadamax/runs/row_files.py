"""Files of a replay's rows: shared by checkpoints, named by their hash, written once and never changed.

A checkpoint names the files it needs. A file is deleted when no checkpoint that can be resumed names it, so a row that
the ring has overwritten stays available to earlier checkpoints.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hadamax.replay.persistence import File, Piece, Snapshot, Stored

FOLDER = "replay"


def write(folder: Path, snapshot: Snapshot, write_file: Callable[[Path, bytes], None]) -> list[File]:
    """Write the rows that are in no file yet to `folder` with `write_file`; return all files of the snapshot.

    Raises:
        OSError: the disk is full, or `folder` cannot be written; the new files are removed.
    """
    place, new = folder / FOLDER, []
    place.mkdir(parents=True, exist_ok=True)
    try:
        for pieces, data in snapshot.pending():
            new.append(File(hashlib.sha256(data).hexdigest(), pieces))
            write_file(_path(folder, new[-1]), data)
    except BaseException:
        for file in new:
            _path(folder, file).unlink(missing_ok=True)
        raise
    return [*snapshot.kept(), *new]


def to_json(files: list[File]) -> list[dict[str, Any]]:
    return [{"sha256": file.sha256, "pieces": [list(piece) for piece in file.pieces]} for file in files]


def from_json(folder: Path, entries: list[dict[str, Any]]) -> Stored:
    """Return the files of a checkpoint, read on demand.

    Raises:
        Exception: of any type, if `entries` is not a list of files.
    """
    files = []
    for entry in entries:
        if not re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
            raise ValueError("a replay's file has an invalid name")
        files.append(File(entry["sha256"], [Piece(*map(int, piece)) for piece in entry["pieces"]]))
    return Stored(files, lambda file: _read(folder, file))


def clear(folder: Path, named: Iterable[File]) -> None:
    """Remove all files except `named`, and leftovers of a kill."""
    names = {_path(folder, file).name for file in named}
    for path in (folder / FOLDER).glob("*"):
        if path.name not in names:
            path.unlink()


def _path(folder: Path, file: File) -> Path:
    return folder / FOLDER / f"{file.sha256}.safetensors"


def _read(folder: Path, file: File) -> bytes:
    try:
        data = _path(folder, file).read_bytes()
    except FileNotFoundError:
        raise ValueError("its part of the replay was deleted: only the last checkpoints keep theirs") from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise ValueError(f"its replay's file {file.sha256[:12]} is damaged")
    return data
