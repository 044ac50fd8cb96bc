"""Checkpoints: one folder each, complete or absent.

`weights.safetensors` holds the network, `state.safetensors` every other tensor, `checkpoint.json` the rest and a hash
of each file. They are written under another name, flushed and renamed, so a kill leaves either the old or the new
checkpoint. Neither format can contain code. A replay's rows are in separate files, which checkpoints share.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from hadamax.errors import one_line
from hadamax.files import flush_folder, write_atomically, write_flushed
from hadamax.replay.persistence import File, Snapshot
from hadamax.runs import row_files

FORMAT = 1
WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.safetensors", "checkpoint.json"


class BadCheckpoint(Exception):
    """A checkpoint that is truncated, corrupted, or not written by this library."""


class NewerCheckpoint(BadCheckpoint):
    """An intact checkpoint of a format that only a newer hadamax reads."""


class Checkpoint(NamedTuple):
    """A checkpoint in memory; its tensors are copies."""

    frame: int
    weights: dict[str, Tensor]
    state: dict[str, Any]  # nested dictionaries of tensors, arrays, whole numbers, None and a replay's rows
    about: dict[str, Any]  # JSON: log positions, seconds trained, score


def capture(frame: int, state: dict[str, Any], about: dict[str, Any]) -> Checkpoint:
    """Copy an algorithm's `state_dict`, so that further training does not change it."""
    rest = {name: _copy(value) for name, value in state.items() if name != "network"}
    return Checkpoint(frame, _copy(state["network"]), rest, about)


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `folder/frame_N` atomically and return it.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".writing-*"):  # left by a killed run; this process holds the folder's lock
        shutil.rmtree(left, ignore_errors=True)
    snapshots = dict(_snapshots(checkpoint.state))
    rows = {key: row_files.write(folder, snapshot, write_atomically) for key, snapshot in snapshots.items()}
    tensors, numbers = _flatten(checkpoint.state)
    files = {WEIGHTS: save(checkpoint.weights), STATE: save(tensors)}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = {"format": FORMAT, "frame": checkpoint.frame, "numbers": numbers, "about": checkpoint.about}
    if rows:
        manifest["rows"] = {key: row_files.to_json(named) for key, named in rows.items()}
    hashes[MANIFEST] = _digest(manifest, hashes)
    files[MANIFEST] = json.dumps({**manifest, "sha256": hashes}, indent=1).encode()
    target = folder / f"frame_{checkpoint.frame:012d}"
    temporary = folder / f".writing-{target.name}"
    try:
        temporary.mkdir()
        for name, data in files.items():
            write_flushed(temporary / name, data)
        flush_folder(temporary)
        if target.exists():  # renamed before removal, so that a kill leaves no partial checkpoint
            target.rename(folder / f".writing-old-{target.name}")
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(folder)
    shutil.rmtree(folder / f".writing-old-{target.name}", ignore_errors=True)
    for key, snapshot in snapshots.items():
        snapshot.saved(rows[key])
    return target


def read(path: Path) -> Checkpoint:
    """Read one checkpoint folder.

    Raises:
        NewerCheckpoint: a newer hadamax wrote it.
        BadCheckpoint: a part is missing, damaged or not a finite number.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        hashes = manifest.pop("sha256")
        # Checked before the format, so that a flipped bit is not taken for a newer version. Early runs lack this hash.
        own = hashes.pop(MANIFEST, None)
        if set(hashes) != {WEIGHTS, STATE} or own not in (None, _digest(manifest, hashes)):
            raise BadCheckpoint(f"{MANIFEST} is damaged")
        if manifest["format"] > FORMAT:
            raise NewerCheckpoint(f"written by a newer hadamax, format {manifest['format']}")
        if manifest["frame"] != frame_of(path):
            raise BadCheckpoint(f"holds frame {manifest['frame']}")
        tensors = {}
        for name in (WEIGHTS, STATE):
            data = (path / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != hashes[name]:
                raise BadCheckpoint(f"{name} is damaged")
            tensors[name] = load(data)
        for name, tensor in tensors[WEIGHTS].items():
            if not torch.isfinite(tensor).all():
                raise BadCheckpoint(f"{name} is not a finite number")
        rows = {k: row_files.from_json(path.parent, named) for k, named in manifest.get("rows", {}).items()}
        state = _nest({**tensors[STATE], **manifest["numbers"], **rows})
        return Checkpoint(int(manifest["frame"]), tensors[WEIGHTS], state, dict(manifest["about"]))
    except BadCheckpoint:
        raise
    except Exception as error:  # damaged or hostile files make the readers raise anything
        raise BadCheckpoint(one_line(error)) from error


def newest_first(folder: Path) -> Iterator[Path]:
    """Yield the checkpoints of a run, newest first."""
    paths = [path for path in folder.glob("frame_*") if re.fullmatch(r"frame_[0-9]{12,19}", path.name)]
    yield from sorted(paths, key=frame_of, reverse=True)


def frame_of(path: Path) -> int:
    """Return the frame in a checkpoint folder's name."""
    return int(path.name.removeprefix("frame_"))


def best(paths: Iterable[Path]) -> Path | None:
    """Return the checkpoint with the highest score, of greedy games if any; the latest of equal ones."""
    scored = [(score, path) for path in paths if (score := _score(path)) is not None]
    return max(scored)[1] if scored else None


def tidy(folder: Path, frame: int, keep: int, keep_at: tuple[int, ...]) -> None:
    """Remove all but the last `keep`, the best, and the first at or after each frame of `keep_at`.

    Checkpoints after `frame` are damaged and do not count, so that they do not displace good ones. A replay's rows are
    kept only for the last `keep`: the others are for evaluation, and their replays would fill the disk.
    """
    paths = [path for path in newest_first(folder) if frame_of(path) <= frame]
    kept = {*paths[:keep], best(paths)}
    for wanted in keep_at:
        kept.add(next((p for p in reversed(paths) if frame_of(p) >= wanted), None))
    for path in paths:
        if path not in kept:
            # Renamed before removal, so that a kill leaves no partial checkpoint.
            gone = path.with_name(f".writing-{path.name}")
            path.rename(gone)
            shutil.rmtree(gone)
    if (folder / row_files.FOLDER).exists():
        row_files.clear(folder, [file for path in paths[:keep] for file in _row_files(path)])


def _digest(manifest: dict[str, Any], hashes: dict[str, str]) -> str:
    text = json.dumps({**manifest, "sha256": hashes}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _score(path: Path) -> tuple[bool, float] | None:
    """Return (is of greedy games, score), which orders greedy scores above those of exploring games."""
    try:
        about = json.loads((path / MANIFEST).read_bytes())["about"]
        greedy, score = about.get("score_source") == "test", float(about["score"])
    except Exception:  # no score, or a damaged checkpoint
        return None
    return (greedy, score) if math.isfinite(score) else None


def _row_files(path: Path) -> list[File]:
    """Return the replay files of a checkpoint; none if it is damaged, since it cannot be resumed."""
    try:
        rows = json.loads((path / MANIFEST).read_bytes()).get("rows", {})
        return [file for named in rows.values() for file in row_files.from_json(path.parent, named).files]
    except Exception:
        return []


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    return value.copy() if isinstance(value, np.ndarray) else value


def _flatten(state: dict[Any, Any], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors by path, and the rest by path: whole numbers, None and empty dictionaries."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for name, value in state.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            inner = _flatten(value, f"{key}/")
            tensors.update(inner[0])
            numbers.update(inner[1])
        elif value is None or isinstance(value, int | dict):
            numbers[key] = value
        elif not isinstance(value, Snapshot):
            tensors[key] = value if isinstance(value, Tensor) else torch.from_numpy(value)
    return tensors, numbers


def _snapshots(state: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Snapshot]]:
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _snapshots(value, f"{prefix}{name}/")
        elif isinstance(value, Snapshot):
            yield f"{prefix}{name}", value


def _nest(flat: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, name = key.split("/")
        place = state
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return state
