"""Checkpoints: a folder each, whole or not there at all.

`weights.safetensors` holds the network, `state.safetensors` every other tensor, `checkpoint.json` the rest with a
hash of both files. They are written under another name, flushed and renamed, so a kill leaves either the old or the
new. Neither format can carry code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

FORMAT = 1
WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.safetensors", "checkpoint.json"


class BadCheckpoint(Exception):
    """A checkpoint that is truncated, corrupted, or not one of ours."""


class Checkpoint(NamedTuple):
    """A checkpoint in memory; its tensors are copies."""

    frame: int
    weights: dict[str, Tensor]
    state: dict[str, Any]  # nested dictionaries of tensors, arrays and whole numbers
    about: dict[str, Any]  # JSON: log positions, seconds trained, score


def capture(frame: int, state: dict[str, Any], about: dict[str, Any]) -> Checkpoint:
    """Copy an algorithm's `state_dict`, so that training on does not touch it."""
    rest = {name: _copy(value) for name, value in state.items() if name != "network"}
    return Checkpoint(frame, _copy(state["network"]), rest, about)


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `folder/frame_N` atomically and return it.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".writing-*"):  # of a run that was killed; the folder's lock is ours
        shutil.rmtree(left, ignore_errors=True)
    tensors, numbers = _flatten(checkpoint.state)
    files = {WEIGHTS: save(checkpoint.weights), STATE: save(tensors)}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = {"format": FORMAT, "frame": checkpoint.frame, "sha256": hashes, "numbers": numbers}
    files[MANIFEST] = json.dumps({**manifest, "about": checkpoint.about}, indent=1).encode()
    target = folder / f"frame_{checkpoint.frame:012d}"
    temporary = folder / f".writing-{target.name}"
    try:
        temporary.mkdir()
        for name, data in files.items():
            write_flushed(temporary / name, data)
        flush_folder(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(folder)
    return target


def read(path: Path) -> Checkpoint:
    """Read one checkpoint folder.

    Raises:
        BadCheckpoint: something of it is missing, damaged or of another format.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        if manifest["format"] > FORMAT:
            raise BadCheckpoint(f"{path}: written by a newer hadamax (format {manifest['format']})")
        tensors = {}
        for name in (WEIGHTS, STATE):
            data = (path / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != manifest["sha256"][name]:
                raise BadCheckpoint(f"{path}: {name} is damaged")
            tensors[name] = load(data)
        state = _nest(tensors[STATE], manifest["numbers"])
        return Checkpoint(int(manifest["frame"]), tensors[WEIGHTS], state, dict(manifest["about"]))
    except BadCheckpoint:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes the readers raise
        raise BadCheckpoint(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def newest_first(folder: Path) -> Iterator[Path]:
    """The checkpoints of a run, the last one first."""
    yield from sorted(folder.glob("frame_[0-9]*"), reverse=True)


def frame_of(path: Path) -> int:
    """The frame in a checkpoint folder's name."""
    return int(path.name.removeprefix("frame_"))


def best(folder: Path) -> Path | None:
    """The checkpoint with the highest score; the latest of equals."""
    scored = [(score, path) for path in newest_first(folder) if (score := _score(path)) is not None]
    return max(scored)[1] if scored else None


def tidy(folder: Path, keep: int, keep_at: tuple[int, ...]) -> None:
    """Remove all but the last `keep`, the best, and the first at or after each frame of `keep_at`."""
    paths = list(newest_first(folder))
    kept = {*paths[:keep], best(folder)}
    for frame in keep_at:
        kept.add(next((p for p in reversed(paths) if frame_of(p) >= frame), None))
    for path in paths:
        if path not in kept:
            # Renamed first: a kill half-way must not leave a damaged folder under a checkpoint's name.
            gone = path.with_name(f".writing-{path.name}")
            path.rename(gone)
            shutil.rmtree(gone)


def write_flushed(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) or 0 :]
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the disk has a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by another, never leaving half of one."""
    temporary = path.with_name(f".writing-{path.name}")
    write_flushed(temporary, data)
    temporary.replace(path)
    flush_folder(path.parent)


def _score(path: Path) -> float | None:
    try:
        return json.loads((path / MANIFEST).read_bytes())["about"]["score"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    return value.copy() if isinstance(value, np.ndarray) else value


def _flatten(state: dict[Any, Any], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, int]]:
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, int] = {}
    for name, value in state.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            inner = _flatten(value, f"{key}/")
            tensors.update(inner[0])
            numbers.update(inner[1])
        elif isinstance(value, int):
            numbers[key] = value
        else:
            tensors[key] = value if isinstance(value, Tensor) else torch.from_numpy(value)
    return tensors, numbers


def _nest(tensors: dict[str, Tensor], numbers: dict[str, int]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for key, value in [*tensors.items(), *numbers.items()]:
        *parents, name = key.split("/")
        place = state
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return state
