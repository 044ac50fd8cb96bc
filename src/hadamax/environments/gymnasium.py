"""Any Gymnasium environment with discrete actions, and MinAtar (an extra), stepped one by one.

Vectors stay as they are. Images become channels-first, unless they already are (fewer channels than rows and columns).
Any other space is flattened to a vector.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from hadamax.environments.engine import Array, EngineStep
from hadamax.errors import UserError, unknown

MINATAR_ACTIONS = ("NOOP", "LEFT", "UP", "RIGHT", "DOWN", "FIRE")


class GymnasiumEngine:
    """A batch of one Gymnasium environment. A frame is a step."""

    reseed_steps = 0  # seeding is cheap: every game gets its own seed
    frames_per_step = 1
    stack = 1

    def __init__(self, make: Any, num_envs: int, *, action_names: tuple[str, ...] | None = None) -> None:
        """`make`: a function that returns a new `gymnasium.Env`."""
        import gymnasium

        self._environments = [_as_box(make()) for _ in range(num_envs)]
        first = self._environments[0]
        if not isinstance(first.action_space, gymnasium.spaces.Discrete):
            line = f"env: {first.spec and first.spec.id} has the action space {first.action_space}"
            raise UserError(f"{line}; expected one with discrete actions, such as Pong or CartPole-v1")
        space = first.observation_space
        self.num_envs = num_envs
        shape = tuple(space.shape)
        image = len(shape) == 3
        self._channels_last = image and shape[0] >= min(shape[1:])
        self.observation_shape = (shape[2], *shape[:2]) if self._channels_last else shape
        bytes_ = space.dtype == np.uint8 or space.dtype == np.bool_
        self.observation_dtype = np.dtype(np.uint8 if bytes_ else np.float32)
        self.input_scale = 255.0 if space.dtype == np.uint8 and image else 1.0
        self._over = np.zeros(num_envs, bool)
        self._first_action = int(first.action_space.start)
        self.action_names = action_names or tuple(str(a) for a in range(int(first.action_space.n)))

    def reset(self, mask: Array, seeds: Array) -> tuple[Array, Array]:
        self._over &= ~mask
        observations = np.zeros((self.num_envs, *self.observation_shape), self.observation_dtype)
        for env, seed in zip(np.flatnonzero(mask), seeds, strict=True):
            observations[env] = self._observe(self._environments[env].reset(seed=int(seed))[0])
        return observations, np.zeros(self.num_envs, np.int64)

    def step(self, actions: Array) -> EngineStep:
        n = self.num_envs
        observations = np.empty((n, *self.observation_shape), self.observation_dtype)
        rewards, terminated, truncated = np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)
        for env, action in enumerate(actions):
            if self._over[env]:  # a finished game is not stepped until it is reset
                observations[env] = 0
                continue
            step = self._environments[env].step(int(action) + self._first_action)
            observation, rewards[env], terminated[env], truncated[env] = step[:4]
            observations[env] = self._observe(observation)
        self._over |= terminated | truncated
        # `reseed_steps` is 0, so the caller resets a finished game at once; its row here is the final observation.
        return EngineStep(observations, rewards, terminated, truncated, np.zeros(n, np.int64), observations)

    def _observe(self, observation: Any) -> Array:
        array = np.asarray(observation)
        return array.transpose(2, 0, 1) if self._channels_last else array


def make_gymnasium(
    env: str, num_envs: int, *, max_episode_frames: int | None = None, games: Iterable[str] = ()
) -> GymnasiumEngine:
    """Make a registered environment, with its own time limit unless `max_episode_frames` is given.

    Raises:
        UserError: the id is unknown; the line lists `games` (of Atari) and the registered ids.
    """
    import gymnasium

    if env not in gymnasium.registry or env.startswith("ALE/"):
        legacy = re.compile(r"ALE/|.*-v[04]$|.*(NoFrameskip|Deterministic)")
        others = [name for name in gymnasium.registry if not legacy.match(name)]
        raise unknown("env", env, [*games, "MinAtar/Breakout-v1", *others])
    limit = {} if max_episode_frames is None else {"max_episode_steps": max_episode_frames}
    try:
        return GymnasiumEngine(lambda: gymnasium.make(env, disable_env_checker=True, **limit), num_envs)
    except (gymnasium.error.Error, ImportError) as error:  # usually a missing library
        raise UserError(f"env: {env} cannot be made: {' '.join(str(error).split())}") from None


def make_minatar(env: str, num_envs: int, *, sticky_actions: float, max_episode_frames: int) -> GymnasiumEngine:
    """Make `MinAtar/Breakout-v1` (minimal action set) or `-v0` (all six actions)."""
    try:
        import minatar.gym
    except ImportError:
        raise UserError(f"env: {env!r} needs an extra: pip install 'hadamax-rl[minatar]'") from None
    import gymnasium

    if "MinAtar/Breakout-v1" not in gymnasium.registry:
        minatar.gym.register_envs()
    if env not in gymnasium.registry:
        raise unknown("env", env, [name for name in gymnasium.registry if name.startswith("MinAtar/")])

    class ForgetLastAction(gymnasium.Wrapper):  # type: ignore[misc]
        """Reset the last action with the game; MinAtar itself repeats it in the next game."""

        def reset(self, **options: Any) -> Any:
            self.unwrapped.game.last_action = 0
            return self.env.reset(**options)

    def make() -> gymnasium.Env:
        options = {"sticky_action_prob": sticky_actions, "max_episode_steps": max_episode_frames}
        return ForgetLastAction(gymnasium.make(env, disable_env_checker=True, **options))

    names = [MINATAR_ACTIONS[action] for action in make().unwrapped.action_set]
    return GymnasiumEngine(make, num_envs, action_names=tuple(names))


def _as_box(environment: Any) -> Any:
    import gymnasium

    space = environment.observation_space
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) in (1, 3):
        return environment
    environment = gymnasium.wrappers.FlattenObservation(environment)
    shape = environment.observation_space.shape  # None if the size varies
    if shape is None or not math.prod(shape):
        raise UserError(f"env: observations of {space} cannot be flattened to a vector")
    return environment
