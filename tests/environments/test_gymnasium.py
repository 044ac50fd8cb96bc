"""Gymnasium environments: observations, actions, time limits, unsupported spaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from hadamax.environments import EnvironmentSettings, Game, VectorEnvironment, make_environment
from hadamax.environments.gymnasium import GymnasiumEngine
from hadamax.errors import UserError


def make(env: str, num_envs: int = 2, seed: int = 1, **settings: object) -> VectorEnvironment:
    return make_environment(EnvironmentSettings(env, **settings), num_envs, seed=seed)


class Still(gymnasium.Env):
    """An endless environment that shows samples of its space and records actions."""

    def __init__(self, space: spaces.Space, actions: spaces.Space | None = None) -> None:
        self.observation_space, self.action_space = space, actions or spaces.Discrete(3)
        self.taken: list[int] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        self.observation_space.seed(seed)
        self.shown = self.observation_space.sample()
        return self.shown, {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        self.taken.append(action)
        return self.shown, 1.0, False, False, {}


def engine_of(space: spaces.Space, actions: spaces.Space | None = None) -> GymnasiumEngine:
    return GymnasiumEngine(lambda: Still(space, actions), 1)


def test_cartpole_equals_gymnasium() -> None:
    environment = make("CartPole-v1", 2, max_episode_frames=30)
    seeds: list[int] = []
    reset = environment.engine.reset

    def noted(mask: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seeds.extend(values.tolist())
        return reset(mask, values)

    environment.engine.reset = noted
    observations = environment.reset()
    twin = gymnasium.make("CartPole-v1", max_episode_steps=30)
    assert np.array_equal(observations[0], twin.reset(seed=seeds[0])[0])
    returns, cut, over = 0.0, 0, 0
    for t in range(400):
        action = t // 2 % 2 if over else 0  # fall at once, then balance for a while
        known = len(seeds)
        step = environment.step(np.array([action, t % 2]))
        observation, reward, terminated, truncated, _ = twin.step(action)
        truncated = truncated and not terminated
        returns += reward
        assert (step.rewards[0], step.terminated[0], step.truncated[0]) == (reward, terminated, truncated)
        if terminated or truncated:
            assert np.array_equal(step.final_observations[0], observation)
            assert step.games[0] == Game(0, returns, int(returns))
            observation, returns = twin.reset(seed=seeds[known])[0], 0.0
            over, cut = over + terminated, cut + truncated
        assert np.array_equal(step.observations[0], observation)
    assert over > 1
    assert cut > 1


def test_cartpole_attributes() -> None:
    environment = make("CartPole-v1")
    assert environment.observation_shape == (4,)
    assert environment.observation_dtype == np.float32
    assert environment.input_scale == 1.0
    assert environment.frames_per_step == 1
    assert environment.action_names == ("0", "1")


def test_registered_time_limit_truncates() -> None:
    environment = make("MountainCar-v0", 1)
    environment.reset()
    steps = [environment.step(np.zeros(1, int)) for _ in range(200)]
    assert [bool(step.truncated[0]) for step in steps] == [False] * 199 + [True]


def test_discrete_observations_become_one_hot() -> None:
    environment = make("FrozenLake-v1")
    first = environment.reset()
    assert first.shape == (2, 16)
    assert first.dtype == np.float32
    assert (first == np.eye(16, dtype=np.float32)[0]).all()
    for _ in range(10):
        assert (environment.step(np.ones(2, int)).observations.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("space", "shape", "dtype", "scale"),
    [
        (spaces.Box(0, 255, (8, 9, 3), np.uint8), (3, 8, 9), np.uint8, 255.0),
        (spaces.Box(0, 1, (8, 9, 3), np.float32), (3, 8, 9), np.float32, 1.0),
        (spaces.Box(0, 1, (10, 10, 4), np.bool_), (4, 10, 10), np.uint8, 1.0),
        (spaces.Box(0, 255, (6,), np.uint8), (6,), np.uint8, 1.0),
        (spaces.Box(-1, 1, (6,), np.float64), (6,), np.float32, 1.0),
        (spaces.Box(0, 1, (2, 3), np.float32), (6,), np.float32, 1.0),
        (spaces.Box(0, 1, (), np.float32), (1,), np.float32, 1.0),
        (spaces.Dict(a=spaces.Box(0, 1, (2, 2), np.float32), b=spaces.Discrete(3)), (7,), np.float32, 1.0),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)]), (5,), np.float32, 1.0),
    ],
)
def test_supported_spaces(space: spaces.Space, shape: tuple[int, ...], dtype: type, scale: float) -> None:
    engine = engine_of(space)
    environment = VectorEnvironment(engine, seed=0)
    observations = environment.reset()
    assert engine.observation_shape == shape
    assert observations.shape == (1, *shape)
    assert observations.dtype == engine.observation_dtype == dtype
    assert engine.input_scale == scale
    assert np.array_equal(environment.step(np.zeros(1, int)).observations, observations)


def test_images_become_channels_first() -> None:
    engine = engine_of(spaces.Box(0, 255, (8, 9, 3), np.uint8))
    shown = engine.reset(np.ones(1, bool), np.array([4]))[0][0]
    assert np.array_equal(shown, np.moveaxis(engine._environments[0].shown, 2, 0))


@pytest.mark.parametrize("shape", [(3, 8, 9), (1, 84, 84), (4, 10, 10)])
def test_channels_first_images_are_unchanged(shape: tuple[int, ...]) -> None:
    engine = engine_of(spaces.Box(0, 255, shape, np.uint8))
    assert engine.observation_shape == shape
    assert np.array_equal(engine.reset(np.ones(1, bool), np.array([4]))[0][0], engine._environments[0].shown)


def test_actions_that_do_not_start_at_zero() -> None:
    engine = engine_of(spaces.Box(0, 1, (2,)), spaces.Discrete(3, start=-1))
    environment = VectorEnvironment(engine, seed=0)
    environment.reset()
    for action in (0, 2):
        environment.step(np.array([action]))
    assert engine.action_names == ("0", "1", "2")
    assert engine._environments[0].taken == [-1, 1]


@pytest.mark.parametrize("space", [spaces.Sequence(spaces.Discrete(3)), spaces.Graph(spaces.Discrete(2), None)])
def test_observations_without_a_size_are_errors(space: spaces.Space) -> None:
    with pytest.raises(UserError, match=r"^env: observations of .* cannot be flattened to a vector$"):
        engine_of(space)


@pytest.mark.parametrize(
    ("attempt", "line"),
    [
        (lambda: make("Pendulum-v1"), r"^env: Pendulum-v1 has the action space Box\(.*\); expected one with"),
        (lambda: engine_of(spaces.Box(0, 1, (2,)), spaces.MultiDiscrete([2, 2])), "has the action space .*; expected"),
        (lambda: make("GymV21Environment-v0"), "^env: GymV21Environment-v0 cannot be made: .*install.*$"),
    ],
)
def test_unsupported_environments_are_one_line_errors(attempt: Callable[[], object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        attempt()


def test_game_resumes_exactly() -> None:
    first, second = make("FrozenLake-v1", 3), make("FrozenLake-v1", 3)
    first.reset()
    actions = np.random.default_rng(0).integers(0, 4, (80, 3))
    for row in actions[:40]:
        first.step(row)
    second.load_state_dict(first.state_dict())
    for row in actions[40:]:
        for a, b in zip(first.step(row), second.step(row), strict=True):
            assert np.array_equal(a, b)
