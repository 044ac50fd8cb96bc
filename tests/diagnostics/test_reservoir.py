"""A reservoir sample is uniform, bounded and repeatable."""

from __future__ import annotations

import numpy as np
import torch

from hadamax.diagnostics.records import Reservoir


def kept(capacity: int, batches: list[int], seed: int = 0) -> list[int]:
    """Return the indices of the kept rows."""
    reservoir, offered = Reservoir(capacity, seed), 0
    for size in batches:
        first = offered
        reservoir.offer(size, lambda chosen, first=first: (chosen + first)[:, None])
        offered += size
    assert reservoir.offered == offered
    return [] if reservoir.rows is None else reservoir.rows[:, 0].tolist()


def test_keeps_all_rows_below_capacity() -> None:
    assert kept(10, []) == []
    assert kept(10, [3, 0, 4]) == list(range(7))
    assert kept(7, [3, 4]) == list(range(7))


def test_keeps_at_most_capacity_without_duplicates() -> None:
    for batches in ([1000], [1] * 300, [5, 700, 3], [10, 10, 10]):
        rows = kept(10, batches)
        assert len(rows) == len(set(rows)) == 10
        assert max(rows) < sum(batches)


def test_rows_are_equally_likely() -> None:
    """60 rows in uneven batches for 10 places: each is kept with probability 1/6."""
    times = 6000
    counts = np.zeros(60)
    for seed in range(times):
        counts[kept(10, [7, 20, 1, 32], seed)] += 1
    expected, spread = times / 6, np.sqrt(times * (1 / 6) * (5 / 6))
    z = (counts - expected) / spread
    assert np.abs(z).max() < 4.2
    assert np.square(z).sum() < 60 * 1.7


def test_same_seed_keeps_the_same_rows() -> None:
    batches = [30, 500, 40]
    assert kept(20, batches, seed=3) == kept(20, batches, seed=3)
    assert kept(20, batches, seed=3) != kept(20, batches, seed=4)


def test_rows_are_copies_with_their_dtype() -> None:
    rows = torch.ones(4, 2, dtype=torch.bfloat16)
    reservoir = Reservoir(8, 0)
    reservoir.offer(4, lambda chosen: rows[chosen])
    rows.zero_()
    assert reservoir.rows is not None
    assert reservoir.rows.dtype == torch.bfloat16
    assert reservoir.rows.sum() == 8
