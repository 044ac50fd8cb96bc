"""Frames in little room: each as its difference (XOR) to the one before, compressed. Most of a game stands still."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import numpy as np

Array = np.ndarray


def pack(frames: Array) -> bytes:
    """Frames [k, bytes] uint8, in the order of their time."""
    differences = frames.copy()
    differences[1:] ^= frames[:-1]
    return zlib.compress(differences.tobytes(), level=1)


def unpack(data: bytes, number: int, size: int) -> Array:
    """`number` frames [number, size] uint8 of `pack`.

    Raises:
        ValueError: it holds another number of bytes, or is not compressed at all. No more than that is unpacked.
    """
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(data, number * size + 1)
    except zlib.error as error:
        raise ValueError(f"frames that cannot be unpacked: {error}") from None
    if len(raw) != number * size:
        raise ValueError(f"{len(raw)} bytes of frames instead of {number * size}")
    word = math.gcd(size, 8)  # bytes at once
    frames: Array = np.bitwise_xor.accumulate(np.frombuffer(raw, f"u{word}").reshape(number, size // word))
    return frames.view(np.uint8)


def parts(rows: Array, most: int) -> Iterator[Array]:
    """`rows` in order, at most so many at once."""
    for start in range(0, len(rows), most):
        yield rows[start : start + most]
