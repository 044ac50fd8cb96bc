"""SAME padding and pooling against slow loops written from their definition."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hadamax.networks import HadamardConv2d, Pool
from hadamax.networks.windows import Pooling, make_window

Array = NDArray[np.float64]
GEOMETRIES = [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (4, 4), (8, 1), (8, 2), (3, 4), (1, 3)]
SIZES = [(5, 5), (6, 9), (7, 8), (13, 12), (1, 2)]


def same_windows(size: int, window: int, stride: int) -> list[range]:
    """Return the positions that each output of a SAME window covers, including outside ones."""
    outputs = math.ceil(size / stride)
    total = max((outputs - 1) * stride + window - size, 0)
    return [range(o * stride - total // 2, o * stride - total // 2 + window) for o in range(outputs)]


def padded_cell(x: Array, row: int, column: int, fill: float) -> Array:
    """x[:, row, column] of a [C, H, W] map, or `fill` outside."""
    if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
        return x[:, row, column]
    return np.full(x.shape[0], fill)


def direct(x: Array, window: int, stride: int, fill: float) -> Array:
    """[C, H, W] -> [C, H', W', window * window]: what each SAME window sees."""
    rows, columns = same_windows(x.shape[1], window, stride), same_windows(x.shape[2], window, stride)
    seen = [
        [[padded_cell(x, r, c, fill) for r, c in itertools.product(row, column)] for column in columns] for row in rows
    ]
    return np.array(seen).transpose(3, 0, 1, 2)


def random_map(size: tuple[int, int], channels: int = 2) -> Array:
    # Negative, so that zero padding would win every maximum at the border.
    return np.random.default_rng(0).uniform(-9, -1, (channels, *size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("window", "stride"), GEOMETRIES)
def test_same_pool_equals_a_slow_loop(window: int, stride: int, size: tuple[int, int]) -> None:
    x = random_map(size)
    batch = torch.from_numpy(x)[None].to(memory_format=torch.channels_last)
    largest = Pooling(Pool(window, stride))(batch)[0]
    np.testing.assert_array_equal(largest, direct(x, window, stride, -np.inf).max(-1))
    mean = Pooling(Pool(window, stride, kind="average"))(batch)[0]
    np.testing.assert_allclose(mean, direct(x, window, stride, 0.0).mean(-1), rtol=1e-12)
    assert make_window(window, stride, "same").output_size(*size) == tuple(largest.shape[1:])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kernel", "stride"), GEOMETRIES)
def test_same_convolution_equals_a_slow_loop(kernel: int, stride: int, size: tuple[int, int]) -> None:
    x = random_map(size)
    layer = HadamardConv2d(2, 3, kernel, stride=stride, branches=1, activation="identity").double()
    assert layer.bias is not None
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    seen = direct(x, kernel, stride, 0.0)  # [C, H', W', kernel * kernel]
    expected = np.einsum("chwk,ock->ohw", seen, weight.reshape(3, 2, -1)) + bias[:, None, None]
    got = layer(torch.from_numpy(x)[None])[0].detach()
    np.testing.assert_allclose(got, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("padding", "kernel", "expected"),
    [
        ("valid", 8, (13, 17)),
        ("half", 8, (21, 25)),
        ("half", 3, (20, 24)),
        (1, 8, (15, 19)),
        ("same", 8, (20, 24)),
    ],
)
def test_paddings_of_a_convolution(padding: str | int, kernel: int, expected: tuple[int, int]) -> None:
    layer = HadamardConv2d(1, 1, kernel, padding=padding)
    assert layer(torch.zeros(1, 1, 20, 24)).shape[2:] == expected
    assert layer.window.output_size(20, 24) == expected


@pytest.mark.parametrize(("padding", "expected"), [("valid", (6, 8)), (1, (7, 8)), (0, (6, 8))])
def test_paddings_of_a_pool(padding: str | int, expected: tuple[int, int]) -> None:
    for kind in ("max", "average"):
        pool = Pooling(Pool(3, 3, padding, kind))
        assert pool(torch.zeros(1, 1, 20, 24)).shape[2:] == expected
        assert pool.window.output_size(20, 24) == expected


def test_kernel_and_stride_may_differ_by_axis() -> None:
    layer = HadamardConv2d(1, 1, (3, 5), stride=(1, 2), padding="valid")
    assert layer(torch.zeros(1, 1, 10, 11)).shape == (1, 1, 8, 4)
    assert layer.window.output_size(10, 11) == (8, 4)


def test_window_larger_than_the_map_gives_nothing() -> None:
    assert make_window(8, 1, "valid").output_size(7, 8) == (0, 1)
    assert make_window(3, 1, 5).output_size(0, 3) == (0, 11)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (Pool(2, 2, "full"), 'padding "full" is unknown; .*expected one of same, valid, half'),
        (Pool(2, 2, kind="mean"), 'pool kind "mean" is unknown; .*expected one of max, average'),
        (Pool(3, 1, 2), "pool padding must be at most half its window"),
        (Pool(3, 0), "stride must be 1 or more, not 0"),
        (Pool(3, 1, -1), "padding must be 0 or more, not -1"),
    ],
)
def test_invalid_settings_are_errors(pool: Pool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pooling(pool)


def test_kernel_of_three_sizes_is_an_error() -> None:
    with pytest.raises(ValueError, match="kernel must be a number or a pair"):
        make_window((1, 2, 3), 1, 0)  # type: ignore[arg-type]
