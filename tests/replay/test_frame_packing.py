"""Packed frames unpack bit-for-bit, and hostile input is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from hadamax.replay.persistence import pack, parts, unpack


@pytest.mark.parametrize("size", [1, 6, 12, 77, 80])
@pytest.mark.parametrize("number", [1, 2, 33])
def test_packed_frames_round_trip(number: int, size: int) -> None:
    frames = np.random.default_rng(number).integers(0, 256, (number, size), dtype=np.uint8)
    before = frames.copy()
    assert np.array_equal(unpack(pack(frames), number, size), frames)
    assert np.array_equal(frames, before)


def test_static_frames_take_no_space() -> None:
    frames = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 7056), dtype=np.uint8), 100, axis=0)
    assert len(pack(frames)) < 2 * 7056


@pytest.mark.parametrize("data", [b"", b"not zlib", zlib.compress(b"12345"), zlib.compress(b"\0" * 10**7)])
def test_wrong_number_of_bytes_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="frames"):
        unpack(data, 2, 77)


def test_parts_cover_the_range_in_order() -> None:
    assert [part.tolist() for part in parts(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
