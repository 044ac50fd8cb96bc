"""Priorities that are drawn in proportion: a sum tree, its walks vectorised over a batch."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# Children a node. A wide tree is a shallow one: fewer calls of numpy, each on a little more.
WIDTH = 32


class SumTree:
    """`size` priorities, 0 at first; changing or drawing one costs O(log size).

    Every node is the sum of its children, always added up anew and in the same order: a tree rebuilt from its leaves is
    the same bit for bit, and no rounding piles up over a long run.
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
        """[size] float32, as they were set."""
        leaves: Array = self.levels[0][: self.size].astype(np.float32)
        return leaves

    def get(self, indices: Array) -> Array:
        """Priorities [B] float64."""
        priorities: Array = self.levels[0][indices]
        return priorities

    def set(self, indices: Array, priorities: Array | float) -> None:
        """Change priorities: [B] int, [B] or one, not negative. Of an index that comes twice, the last one holds."""
        self.levels[0][indices] = np.asarray(priorities, np.float32)  # what a checkpoint keeps of them
        for nodes, parents in zip(self._nodes, self.levels[1:], strict=False):
            indices = indices // WIDTH
            parents[indices] = nodes[indices].sum(axis=1)

    def set_all(self, priorities: Array) -> None:
        """Replace all: [size]."""
        self.levels[0][: self.size] = np.asarray(priorities, np.float32)
        for nodes, parents in zip(self._nodes, self.levels[1:], strict=False):
            parents[: len(nodes)] = nodes.sum(axis=1)

    def find(self, masses: Array) -> Array:
        """The leaves [B] int in which masses [B] float64 (0 to `total`) fall, if all leaves are laid end to end."""
        indices, rows = np.zeros(len(masses), np.int64), np.arange(len(masses))
        sizes = [self.size, *map(len, self._nodes)]  # how much there is on the level below
        for size, nodes in zip(sizes[-2::-1], reversed(self._nodes), strict=True):
            children = nodes[indices]
            bounds = children.cumsum(axis=1)
            # The last bound may be rounded below the mass: no further than the last child, nor into padding.
            steps = np.minimum((bounds <= masses[:, None]).sum(axis=1), WIDTH - 1)
            indices = np.minimum(indices * WIDTH + steps, size - 1)
            steps = indices % WIDTH
            masses = masses - np.maximum(bounds[rows, steps] - children[rows, steps], 0)
        return indices
