"""Rows of a replay as files: each row is written once, even if many checkpoints contain it.

A replay has gigabytes, of which a few percent change between two checkpoints. In a `state_dict` a `Snapshot`
represents its rows: the writer of a checkpoint writes the rows that are in no file yet (`pending`), then reports the
existing files (`saved`). The reader passes a `Stored`, which yields the files again.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from safetensors.torch import load, save

from hadamax.replay.frames import Frames

Array = np.ndarray
ROWS_OF_A_FILE = 65_536
ROWS_AT_ONCE = 1024  # frames packed together


class Piece(NamedTuple):
    """Rows [start, stop) of an environment."""

    env: int
    start: int
    stop: int


class File(NamedTuple):
    """A file of rows, as recorded in a checkpoint."""

    sha256: str  # of its content; also its name
    pieces: list[Piece]


class Stored(NamedTuple):
    """The files of a checkpoint and a function that reads one, which raises if its hash differs."""

    files: list[File]
    read: Callable[[File], bytes]


class Snapshot:
    """The rows of a replay at one moment; see `Replay` for how long they can be read."""

    def __init__(self, stream: RowStream, heads: Array) -> None:
        self._stream, self._heads = stream, heads

    def pending(self) -> Iterator[tuple[list[Piece], bytes]]:
        """Yield the content of each file still to be written."""
        for pieces in self._stream.unsaved(self._heads):
            yield pieces, self._stream.encode(pieces)

    def kept(self) -> list[File]:
        """Return the earlier files that still hold needed rows."""
        oldest = self._stream.oldest(self._heads)
        return [file for file in self._stream.files if any(p.stop > oldest[p.env] for p in file.pieces)]

    def saved(self, files: Iterable[File]) -> None:
        """Note that a complete checkpoint contains these files: `kept` and those of `pending`."""
        self._stream.files, self._stream.saved_heads = list(files), self._heads


class Ring(Protocol):
    """The part of a replay that holds its rows: `num_envs` rings of `length` rows each."""

    num_envs: int
    capacity: int
    length: int
    heads: Array  # [env] int64: rows written so far
    frames: Frames
    actions: Array
    rewards: Array
    flags: Array


class RowStream:
    """Writer and reader of a replay's rows; it tracks which rows are already in files."""

    def __init__(self, replay: Ring) -> None:
        self._replay = replay
        self.files: list[File] = []
        self.saved_heads = np.zeros(replay.num_envs, np.int64)  # rows [env] below this are in files, or too old

    def snapshot(self) -> Snapshot:
        return Snapshot(self, self._replay.heads.copy())

    def oldest(self, heads: Array) -> Array:
        """Return the first row [env] that a replay with these heads needs: the first frame of its oldest stack."""
        oldest: Array = np.maximum(heads - self._replay.capacity + 2 - self._replay.frames.stack, 0)
        return oldest

    def unsaved(self, heads: Array) -> Iterator[list[Piece]]:
        """Yield the rows that are not in a file yet, in groups of one file."""
        pieces: list[Piece] = []
        room = ROWS_OF_A_FILE
        starts = np.maximum(self.saved_heads, self.oldest(heads))
        for env, (start, head) in enumerate(zip(starts.tolist(), heads.tolist(), strict=True)):
            while start < head:
                stop = min(start + room, head)
                pieces.append(Piece(env, start, stop))
                room -= stop - start
                start = stop
                if not room:
                    yield pieces
                    pieces, room = [], ROWS_OF_A_FILE
        if pieces:
            yield pieces

    def encode(self, pieces: list[Piece]) -> bytes:
        """Return the content of a file: small columns unchanged, frames packed."""
        slots = np.concatenate([self._slots(env, np.arange(start, stop)) for env, start, stop in pieces])
        tensors = {name: torch.from_numpy(column[slots]) for name, column in self._columns().items()}
        packed = [pack(self._replay.frames.read(self._slots(env, rows))) for env, rows in _parts(pieces)]
        tensors["pieces"] = torch.tensor(pieces)  # makes every file unique
        tensors["sizes"] = torch.tensor([len(data) for data in packed])
        tensors["frames"] = torch.frombuffer(bytearray(b"".join(packed)), dtype=torch.uint8)
        return save(tensors)

    def load(self, stored: Stored) -> None:
        """Fill the replay's ring from files; its heads must be those of the moment of writing.

        Raises:
            RuntimeError: rows are missing, or the files are out of order.
            ValueError: a file has not the format of `encode`.
        """
        heads = self._replay.heads
        oldest = self.oldest(heads)
        reached = np.full(len(heads), -1)
        for file in stored.files:
            for env, start, stop in file.pieces:
                if not (0 <= env < len(heads) and 0 <= start < stop <= heads[env] and reached[env] in (-1, start)):
                    raise RuntimeError(f"the replay's file {file.sha256[:12]} does not follow the ones before it")
                if reached[env] < 0 and start > oldest[env]:
                    raise RuntimeError("the saved replay lacks its first rows")
                reached[env] = stop
        if (np.maximum(reached, 0) != heads).any():
            raise RuntimeError("the saved replay lacks its last rows")
        for file in stored.files:
            self._decode(file, stored.read(file), oldest)
        self.files, self.saved_heads = list(stored.files), heads.copy()

    def _decode(self, file: File, data: bytes, oldest: Array) -> None:
        tensors = {name: tensor.numpy() for name, tensor in load(data).items()}
        columns, size = self._columns(), self._replay.frames.bytes_per_frame
        number = sum(stop - start for _, start, stop in file.pieces)
        if tensors["pieces"].tolist() != [[*piece] for piece in file.pieces]:
            raise ValueError(f"the replay's file {file.sha256[:12]} holds other rows than it should")
        if any(tensors[name].shape != (number,) for name in columns):
            raise ValueError(f"the replay's file {file.sha256[:12]} holds another number of rows than it should")
        ends = tensors["sizes"].cumsum()
        packed, done = tensors["frames"].tobytes(), 0
        for (env, rows), end, length in zip(_parts(file.pieces), ends, tensors["sizes"], strict=True):
            frames = unpack(packed[end - length : end], len(rows), size)
            wanted = rows >= oldest[env]
            slots = self._slots(env, rows[wanted])
            self._replay.frames.write(slots, frames[wanted])
            for name, column in columns.items():
                column[slots] = tensors[name][done : done + len(rows)][wanted]
            done += len(rows)

    def _columns(self) -> dict[str, Array]:
        replay = self._replay
        return {
            "actions": replay.actions,
            "rewards": replay.rewards,
            "flags": replay.flags,
            "ages": replay.frames.ages,
        }

    def _slots(self, env: int, rows: Array) -> Array:
        slots: Array = env * self._replay.length + rows % self._replay.length
        return slots


def _parts(pieces: list[Piece]) -> Iterator[tuple[int, Array]]:
    for env, start, stop in pieces:
        for rows in parts(np.arange(start, stop), ROWS_AT_ONCE):
            yield env, rows


def pack(frames: Array) -> bytes:
    """Compress frames [k, bytes] uint8, in time order: each as the XOR with the frame before it."""
    differences = frames.copy()
    differences[1:] ^= frames[:-1]
    return zlib.compress(differences.tobytes(), level=1)


def unpack(data: bytes, number: int, size: int) -> Array:
    """Decompress `number` frames [number, size] uint8.

    Raises:
        ValueError: the data are not compressed, or have another size. At most `number * size` bytes are unpacked.
    """
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(data, number * size + 1)
    except zlib.error as error:
        raise ValueError(f"frames that cannot be unpacked: {error}") from None
    if len(raw) != number * size:
        raise ValueError(f"{len(raw)} bytes of frames instead of {number * size}")
    word = math.gcd(size, 8)  # bytes per word
    frames: Array = np.bitwise_xor.accumulate(np.frombuffer(raw, f"u{word}").reshape(number, size // word))
    return frames.view(np.uint8)


def parts(rows: Array, most: int) -> Iterator[Array]:
    """Yield `rows` in order, in parts of at most `most`."""
    for start in range(0, len(rows), most):
        yield rows[start : start + most]
