"""A folder that appears whole or not at all."""

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
    """Raises:
    UserError: there is something at `out` that is not a report and would be lost, or nothing can be written there.
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
    """A folder to write into, which takes the place of `out` at the end. A kill leaves what was there before.

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
