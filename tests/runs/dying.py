"""Run a command and kill the process before its n-th change of the disk: runpy.run_path(..., ARGUMENTS)."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import sys
from typing import Any


def die_at(moment: int, log: str) -> None:
    """Count calls that change the disk, and kill the process before the `moment`-th."""
    count = 0

    def deadly(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            os.write(file, f"{name}\n".encode())
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(owner, name, call)

    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for owner, names in (
        (os, ("fsync", "ftruncate", "unlink", "rmdir")),
        (pathlib.Path, ("mkdir", "rename", "replace", "unlink")),
        (shutil, ("rmtree",)),
    ):
        for name in names:
            deadly(owner, name)


def main(moment: int, log: str, arguments: list[str]) -> None:
    import torch

    from hadamax.cli import main as hadamax

    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    torch.set_num_threads(1)
    die_at(moment, log)
    sys.exit(hadamax(arguments))


if "ARGUMENTS" in globals():
    main(*globals()["ARGUMENTS"])
