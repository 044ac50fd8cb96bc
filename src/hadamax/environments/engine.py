"""The interface of an engine, which steps and resets a batch of games, and the log of their actions."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

Array = np.ndarray


class EngineStep(NamedTuple):
    """Result of an engine's step. If a game ended, the engine has already started the next one."""

    observations: Array  # [env, *observation_shape]; the new game's first where one ended
    rewards: Array  # [env], raw
    terminated: Array  # [env] bool: the game is over
    truncated: Array  # [env] bool: a time limit cut the game
    lives: Array  # [env] int, after the step (and after the reset); 0 where a game has none
    final_observations: Array | None  # [env, *observation_shape], read only where a game ended
    cut: Array | None = None  # [env] bool: truncated because the next game of a sequence begins; has no score


class Engine(Protocol):
    """A batch of games whose state follows from the seeds given to `reset` and the actions since.

    An engine may also have `send(actions)` and `receive()`, the halves of `step`, to play while its caller computes.
    """

    num_envs: int
    observation_shape: tuple[int, ...]
    observation_dtype: np.dtype
    action_names: tuple[str, ...]
    frames_per_step: int
    input_scale: float
    reseed_steps: int  # steps after which a game's end is followed by a fresh seed: bounds what a resume replays
    stack: int  # frames stacked in an observation that start as zeros after a reset; 1 where there are none

    def reset(self, mask: Array, seeds: Array) -> tuple[Array, Array]:
        """Reset the masked games with a seed each: (observations [env, ...], lives [env])."""
        ...

    def step(self, actions: Array) -> EngineStep: ...


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
