"""Log of actions since each environment was seeded, from which an emulator replays the same games."""

from __future__ import annotations

import numpy as np

from hadamax.environments.engine import Array


class ActionLog:
    """Actions of every environment since the oldest current seed."""

    def __init__(self, num_envs: int, num_actions: int) -> None:
        self._actions = np.zeros((1024, num_envs), np.uint8 if num_actions <= 256 else np.int32)
        self._rows = 0  # in use
        self._starts = np.zeros(num_envs, np.int64)  # the row at which each environment was last seeded

    def begin(self, mask: Array) -> None:
        """Note that the masked environments have been seeded, and drop their earlier actions."""
        self._starts[mask] = self._rows

    def append(self, actions: Array) -> None:
        """Append the actions [env] that are about to be executed."""
        if self._rows == len(self._actions):
            unused = int(self._starts.min())
            if unused >= len(self._actions) // 2:
                self._actions[: self._rows - unused] = self._actions[unused : self._rows]
                self._rows -= unused
                self._starts -= unused
            else:
                self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)])
        self._actions[self._rows] = actions
        self._rows += 1

    def ages(self) -> Array:
        """Return the steps since each environment was seeded, [env]."""
        return self._rows - self._starts

    def kept(self) -> tuple[Array, Array]:
        """Return copies of the actions [row, env] and of the row at which each environment was seeded, [env]."""
        first = int(self._starts.min())
        return self._actions[first : self._rows].copy(), self._starts - first
