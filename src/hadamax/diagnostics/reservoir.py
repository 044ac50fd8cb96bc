"""Bounded uniform sample of a stream of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class Reservoir:
    """Uniform sample of `capacity` rows from all rows offered.

    Vitter's algorithm R, applied to batches. Kept rows are copies, with the dtype and on the device of the first batch.
    Reservoirs with the same seed and the same batch sizes keep the same rows.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity, self.offered = capacity, 0
        self._random = np.random.default_rng(seed)
        self._rows: Tensor | None = None

    @property
    def rows(self) -> Tensor | None:
        """Copy of the kept rows, [up to capacity, ...]; None before the first offer."""
        return None if self._rows is None else self._rows[: min(self.offered, self.capacity)].clone()

    def offer(self, number: int, take: Callable[[Tensor], Tensor]) -> None:
        """Offer the next `number` rows; `take` returns those at an index [k] int64, all of one shape."""
        sources, slots = self._choose(number)
        if len(sources):
            rows = take(torch.from_numpy(sources))
            if self._rows is None:
                with torch.inference_mode(False):  # a pass with gradients may follow one of inference
                    self._rows = torch.empty((self.capacity, *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
            self._rows[torch.from_numpy(slots).to(self._rows.device)] = rows.to(self._rows)

    def _choose(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Choose which of the next rows are kept, and their slots; the last row assigned to a slot wins."""
        order = np.arange(self.offered, self.offered + number)
        slots = np.where(order < self.capacity, order, self._random.integers(0, order + 1))
        self.offered += number
        (sources,) = np.nonzero(slots < self.capacity)
        # Reversed, because np.unique returns the first occurrence.
        _, first = np.unique(slots[sources][::-1], return_index=True)
        sources = np.sort(sources[::-1][first])
        return sources, slots[sources]
