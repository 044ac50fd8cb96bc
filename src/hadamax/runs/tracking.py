"""Logging to Weights & Biases with `--wandb`.

Without an API key, with WANDB_MODE=offline or without a reachable server, everything is written below the run's folder
for a later `wandb sync`. A resumed run keeps its id. It sends the rows before its checkpoint again, since wandb loses
unwritten data when a process is killed; the server ignores steps that it has.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hadamax.errors import UserError
from hadamax.files import write_atomically
from hadamax.runs.diagnostics import scalars
from hadamax.runs.folder import RunFolder
from hadamax.runs.logs import read_csv
from hadamax.runs.settings import read_toml

PROJECT = "hadamax"
SECONDS_TO_CONNECT = 20.0


def require_wandb() -> None:
    """Raises:
    UserError: the extra is not installed.
    """
    if not find_spec("wandb"):
        raise UserError("wandb: needs an extra: pip install 'hadamax-rl[wandb]'")


class Tracker:
    """Scalars for Weights & Biases: what `Board` is for TensorBoard."""

    def __init__(self, folder: RunFolder, say: Callable[[str], None]) -> None:
        import wandb

        run = folder.path
        settings = wandb.Settings(
            console="off",  # the terminal is the run's own
            silent=True,
            disable_git=True,
            save_code=False,
            x_disable_stats=True,  # metrics.csv has the machine's numbers
            init_timeout=SECONDS_TO_CONNECT,
        )
        place = run.absolute().parts
        given: dict[str, Any] = {
            "dir": str(run),  # wandb makes its folder there
            "id": _id(run),
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "name": os.environ.get("WANDB_NAME", "/".join(place[-3:])),
            "group": os.environ.get("WANDB_RUN_GROUP", "/".join(place[-4:-1])),
            "config": read_toml(folder.config),
            "settings": settings,
        }
        mode = _mode()
        try:
            self._run = wandb.init(mode=mode, resume=None if mode == "offline" else "allow", **given)
        except (wandb.errors.CommError, wandb.errors.UsageError) as error:
            reason = " ".join(str(error).split())[:100]
            say(f"wandb: {reason}; this run is written offline, for: wandb sync {run}/wandb/offline-run-*")
            self._run = wandb.init(mode="offline", **given)
        for frame, values in sorted(_logged(folder).items()):
            self.add(values, frame)

    def add(self, scalars: dict[str, float], frame: int) -> None:
        self._run.log(scalars, step=frame)

    def close(self) -> None:
        self._run.finish()


def _logged(folder: RunFolder) -> dict[int, dict[str, float]]:
    """Return what the run has logged so far, by frame."""
    found: dict[int, dict[str, float]] = {}
    for row in read_csv(folder.metrics):
        found[int(row["frame"])] = {name: float(v) for name, v in row.items() if v and name != "frame"}
    measured: dict[int, list[dict[str, Any]]] = {}
    for row in read_csv(folder.diagnostics):
        measured.setdefault(int(row["frame"]), []).append(row)
    for frame, rows in measured.items():
        found.setdefault(frame, {}).update({name: float(value) for name, value in scalars(rows).items()})
    return found


def _mode() -> Any:
    """Return WANDB_MODE, or online if there is an API key."""
    import wandb

    return os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")


def _id(run: Path) -> str:
    """Return the run's id, created once."""
    file = run / "wandb" / "id"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, secrets.token_hex(4).encode())
    return file.read_text()
