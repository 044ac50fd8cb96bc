"""Folder of a run: its files, its lock, and its state of completion."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import hadamax
from hadamax.environments import Environments
from hadamax.errors import UserError
from hadamax.files import write_atomically
from hadamax.kernels import cpu as kernels
from hadamax.runs import checkpoints
from hadamax.runs.checkpoints import BadCheckpoint
from hadamax.runs.settings import TrainSettings, from_toml, read_toml, to_toml

CONFIG = "config.toml"
LOCK = ".lock"
HELD = "HADAMAX_LOCK"  # in the environment: an inherited descriptor whose lock the parent took for this process
SECONDS_FOR_A_LOOK = 0.5  # `hadamax status` takes the lock for an instant to test it
LEFT_BY_A_KILL = (LOCK, f".writing-{CONFIG}")  # before a run began


class Spaces(NamedTuple):
    """The environment's spaces, kept in `config.toml` so that a network loads without an emulator."""

    observation_shape: tuple[int, ...]
    input_scale: float
    action_names: tuple[str, ...]

    @classmethod
    def of(cls, environment: Environments) -> Spaces:
        return cls(environment.observation_shape, environment.input_scale, environment.action_names)


def refuse_unwritable(out: Path, folder: Path) -> None:
    """Check that a folder can be written, before any work is done.

    Args:
        out: the requested path, for the message.
        folder: the folder to write to, existing or not.

    Raises:
        UserError: the folder, or its nearest existing parent, cannot be written to.
    """
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            place.lstat()
            break
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte in it
            raise UserError(
                f"out: {str(out)!r} cannot be written: {getattr(error, 'strerror', None) or error}"
            ) from None
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UserError(f"out: {out} cannot be written: {place} is not a writable folder")


class RunFolder:
    """The files of a run by name, and the lock that excludes other writers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / CONFIG
        self.metrics = path / "metrics.csv"
        self.episodes = path / "episodes.csv"
        self.diagnostics = path / "diagnostics.csv"
        self.checkpoints = path / "checkpoints"
        self.evaluation = path / "evaluation.json"
        self.curve = path / "curve.png"
        self._lock: int | None = None

    @classmethod
    def create(cls, path: Path, algorithm: str, settings: TrainSettings[Any], environment: Environments) -> RunFolder:
        """Create a new run's folder with its `config.toml`, locked.

        Raises:
            UserError: there is something at `path` already, or it cannot be written.
        """
        folder, new = cls(path), False
        cls.refuse(path)
        try:
            new = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            folder.lock()
            if folder.config.exists():  # created while this process waited for the lock
                folder.unlock()
                raise UserError(f"run: {path} is in use by another process; wait for it or stop it")
            about = {
                "protocol": {"fingerprint": settings.environment.fingerprint()},
                "spaces": Spaces.of(environment)._asdict(),
                "versions": versions(),
            }
            write_atomically(folder.config, to_toml(algorithm, settings, about).encode())
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte in it
            folder.unlock()
            with contextlib.suppress(OSError, ValueError):
                if new:
                    (path / LOCK).unlink()
                    path.rmdir()
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"out: {str(path)!r} cannot be written: {reason}") from None
        return folder

    @classmethod
    def refuse(cls, path: Path) -> None:
        """Check that a new run can be created at `path`, before any work is done.

        Raises:
            UserError: there is something at `path` already, or it cannot be written.
        """
        try:
            if cls(path).config.exists():
                line = f"out: {path} already holds a run; continue it with: hadamax resume {path}, or choose another"
                raise UserError(line)
            if path.is_dir() and any(file.name not in LEFT_BY_A_KILL for file in path.iterdir()):
                raise UserError(f"out: {path} is not empty and not a run; choose another folder")
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte in it
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"out: {str(path)!r} cannot be written: {reason}") from None
        refuse_unwritable(path, path)

    @classmethod
    def open(cls, path: Path) -> tuple[RunFolder, str, TrainSettings[Any]]:
        """Open an existing run: return its folder (not locked), algorithm and settings.

        Raises:
            UserError: not a run's folder, or one that a newer hadamax wrote.
        """
        folder = cls(path)
        try:
            found = folder.config.is_file()
        except OSError as error:
            raise UserError(f"run: {path} cannot be read: {error.strerror}") from None
        if not found:
            raise UserError(f"run: {path} is not a run's folder (no {CONFIG} in it); make one with: hadamax train")
        algorithm, settings = from_toml(read_toml(folder.config), folder.config)
        return folder, algorithm, settings

    def spaces(self) -> Spaces:
        """Return the spaces of the run's environment."""
        table = read_toml(self.config).get("spaces", {})
        try:
            shape, names = tuple(int(n) for n in table["observation_shape"]), tuple(table["action_names"])
            return Spaces(shape, float(table["input_scale"]), names)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError(f"{self.config}: the table [spaces] is missing or damaged") from None

    def lock(self) -> None:
        """Lock the folder until this process ends.

        Raises:
            UserError: another process is using the folder.
        """
        try:
            self._lock = claim(self.path)
        except BlockingIOError:
            raise UserError(f"run: {self.path} is in use by another process; wait for it or stop it") from None
        except OSError as error:
            raise UserError(f"run: {self.path} cannot be written: {error.strerror}") from None

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def claim(run: Path) -> int:
    """Lock a run's folder; the lock is held while the returned descriptor or an inherited copy of it is open.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the folder is not there, or cannot be written.
    """
    descriptor = os.open(run / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    held = os.environ.get(HELD, "")
    with contextlib.suppress(OSError, ValueError):
        if held and os.path.sameopenfile(descriptor, int(held)):
            return descriptor  # already held by this process
    deadline = time.monotonic() + SECONDS_FOR_A_LOOK
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError as error:
            if not isinstance(error, BlockingIOError) or time.monotonic() > deadline:
                os.close(descriptor)
                raise
        time.sleep(0.05)


def versions() -> dict[str, str]:
    """Return the versions and the machine that a repetition needs beside the settings."""
    found = {"python": platform.python_version(), "processor": processor(), "system": sys.platform}
    found["hadamax"] = hadamax.__version__
    for package in ("torch", "ale-py", "gymnasium", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["compiler"] = kernels.compiler()
    return found


def processor() -> str:
    """Return the CPU model, if the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


MARK = "finished.json"
EVALUATION = "evaluation.json"


class Finished(NamedTuple):
    """How a run ended."""

    frame: int
    score: str  # as text, with its source
    checkpoint: str = ""  # name of the last one


def mark(run: Path, score: str) -> None:
    """Mark a run as finished with its newest checkpoint, if the mark can be written."""
    last = next(checkpoints.newest_first(run / "checkpoints"))
    with contextlib.suppress(OSError):
        content = {"checkpoint": last.name, "sha256": _digest(last), "score": score}
        write_atomically(run / MARK, (json.dumps(content, indent=1) + "\n").encode())


def finished(run: Path) -> Finished | None:
    """Return how a run ended; None if it did not, or if its last checkpoint is not the marked one, intact."""
    found = marked(run)
    try:
        return found and found._replace(frame=checkpoints.read(run / "checkpoints" / found.checkpoint).frame)
    except BadCheckpoint:
        return None


def marked(run: Path) -> Finished | None:
    """Return the same without reading the checkpoint's tensors, for overviews of many runs."""
    try:
        content = json.loads((run / MARK).read_bytes())
        last = next(checkpoints.newest_first(run / "checkpoints"))
        if (content["checkpoint"], content["sha256"]) != (last.name, _digest(last)):
            return None
        return Finished(checkpoints.frame_of(last), str(content["score"]), last.name)
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError):
        return None


def evaluated(run: Path) -> dict[str, Any] | None:
    """Return the report of the final evaluation; None if it is missing or incomplete."""
    try:
        report: dict[str, Any] = json.loads((run / EVALUATION).read_bytes())
        float(report["agent"]["mean"])
        return report
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _digest(checkpoint: Path) -> str:
    """Return the digest of the manifest, which holds the digests of the other files."""
    return hashlib.sha256((checkpoint / checkpoints.MANIFEST).read_bytes()).hexdigest()
