"""Atomic replacement of a report's folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hadamax.errors import UserError
from hadamax.files import flush_folder, write_flushed
from hadamax.runs.folder import refuse_unwritable
from hadamax.studies.report.page import MARK

PAGE = "index.html"


def refuse_other(out: Path) -> None:
    """Check that `out` can be written and does not hold anything but a report.

    Raises:
        UserError: `out` holds something else, which would be lost, or it is not writable.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            page = out / PAGE
            if not page.is_file() or MARK not in page.read_text(encoding="utf-8")[:4096]:
                raise UserError(f"out: {out} is not empty and not a report; choose another folder")
    except (OSError, ValueError) as error:
        raise UserError(f"out: {out} cannot be read: {error}") from None
    refuse_unwritable(out, out.absolute().parent)


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """Yield a folder to write into, which replaces `out` at the end. A kill leaves the previous content.

    Raises:
        UserError: it cannot be written.
    """
    out = out.absolute()
    new, old = (out.with_name(f".{out.name}.{word}-{os.getpid()}") for word in ("writing", "old"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f".{out.name}.writing-*"):
            if not _alive(left.name.rpartition("-")[2]):
                shutil.rmtree(left, ignore_errors=True)
        new.mkdir()
        try:
            yield new
            if out.exists():
                out.rename(old)
            new.rename(out)
            flush_folder(out.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(f"out: {out} cannot be written: {error.strerror}") from None


def write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flushed(path, content)


def _alive(process: str) -> bool:
    return process.isdecimal() and Path("/proc", process).exists()
