"""Write files so that a kill at any instant leaves either the old content or the new."""

from __future__ import annotations

import os
from pathlib import Path


def write_flushed(path: Path, data: bytes) -> None:
    """Write a file and flush it to disk."""
    with open(path, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) or 0 :]
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Flush a folder's list of names to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name, flush, and rename over `path`.

    Raises:
        OSError: the disk is full or the folder cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".writing-{path.name}")
    try:
        write_flushed(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)
