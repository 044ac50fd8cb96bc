"""Interface of an engine, a batch of games: step and reset."""

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


class Engine(Protocol):
    """A batch of games whose state follows from the seeds given to `reset` and the actions since.

    One that has `send(actions)` and `receive()` too, the two halves of `step`, plays while its caller is busy.
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
