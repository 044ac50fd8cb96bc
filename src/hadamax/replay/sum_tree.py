"""Sum tree: draws indices in proportion to their priorities, vectorised over a batch."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# Children per node. A wide tree is shallow, which needs fewer NumPy calls.
WIDTH = 32


class SumTree:
    """`size` priorities, 0 at first; changing or drawing one costs O(log size).

    Every node is the sum of its children, recomputed in the same order. So a tree rebuilt from its leaves is identical
    bit for bit, and rounding errors do not accumulate.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.levels: list[Array] = []  # leaves first; each level padded to whole nodes
        while True:
            self.levels.append(np.zeros(-(-size // WIDTH) * WIDTH))
            size = -(-size // WIDTH)
            if size == 1:
                break
        self._nodes = [level.reshape(-1, WIDTH) for level in self.levels]

    @property
    def nbytes(self) -> int:
        return sum(level.nbytes for level in self.levels)

    @property
    def total(self) -> float:
        return float(self.levels[-1].sum())

    @property
    def leaves(self) -> Array:
        """Return the priorities [size] float32."""
        leaves: Array = self.levels[0][: self.size].astype(np.float32)
        return leaves

    def get(self, indices: Array) -> Array:
        """Return priorities [B] float64."""
        priorities: Array = self.levels[0][indices]
        return priorities

    def set(self, indices: Array, priorities: Array | float) -> None:
        """Set priorities: indices [B] int, values [B] or one number, not negative. The last one counts."""
        self.levels[0][indices] = np.asarray(priorities, np.float32)  # the precision of a checkpoint
        for nodes, parents in zip(self._nodes, self.levels[1:], strict=False):
            indices = indices // WIDTH
            parents[indices] = nodes[indices].sum(axis=1)

    def set_all(self, priorities: Array) -> None:
        """Set all priorities: [size]."""
        self.levels[0][: self.size] = np.asarray(priorities, np.float32)
        for nodes, parents in zip(self._nodes, self.levels[1:], strict=False):
            parents[: len(nodes)] = nodes.sum(axis=1)

    def find(self, masses: Array) -> Array:
        """Return the leaves [B] int whose cumulative ranges contain the masses [B] float64, 0 to `total`."""
        indices, rows = np.zeros(len(masses), np.int64), np.arange(len(masses))
        sizes = [self.size, *map(len, self._nodes)]  # entries on the level below
        for size, nodes in zip(sizes[-2::-1], reversed(self._nodes), strict=True):
            children = nodes[indices]
            bounds = children.cumsum(axis=1)
            # Rounding may put the last bound below the mass; stay within the last child and out of the padding.
            steps = np.minimum((bounds <= masses[:, None]).sum(axis=1), WIDTH - 1)
            indices = np.minimum(indices * WIDTH + steps, size - 1)
            steps = indices % WIDTH
            masses = masses - np.maximum(bounds[rows, steps] - children[rows, steps], 0)
        return indices
