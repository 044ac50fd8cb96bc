"""MinAtar: observation planes, action names, sticky actions, exact resume."""

from __future__ import annotations

import numpy as np
import pytest

from hadamax.environments import EnvironmentSettings, VectorEnvironment, make_environment
from hadamax.errors import UserError

pytest.importorskip("minatar")


def make(env: str = "MinAtar/Breakout-v1", seed: int = 1, **settings: object) -> VectorEnvironment:
    return make_environment(EnvironmentSettings(env, **settings), 2, seed=seed)


def observations(steps: int = 80, **settings: object) -> np.ndarray:
    environment, actions = make(**settings), np.random.default_rng(0)
    environment.reset()
    rows = [environment.step(actions.integers(0, environment.num_actions, 2)) for _ in range(steps)]
    return np.array([row.observations for row in rows])


def test_engine_attributes() -> None:
    environment = make()
    assert environment.observation_shape == (4, 10, 10)
    assert environment.observation_dtype == np.uint8
    assert environment.input_scale == 1.0
    assert environment.frames_per_step == 1
    assert set(np.unique(environment.reset())) == {0, 1}


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ("MinAtar/Breakout-v1", ("NOOP", "LEFT", "RIGHT")),
        ("MinAtar/SpaceInvaders-v1", ("NOOP", "LEFT", "RIGHT", "FIRE")),
        ("MinAtar/Breakout-v0", ("NOOP", "LEFT", "UP", "RIGHT", "DOWN", "FIRE")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*out of date")  # -v0 is requested by name
def test_actions_have_names(env: str, names: tuple[str, ...]) -> None:
    assert make(env).action_names == names


def test_seeds_and_sticky_actions() -> None:
    plain = observations()
    assert np.array_equal(plain, observations())
    assert not np.array_equal(plain, observations(seed=2))
    assert not np.array_equal(plain, observations(sticky_actions=0.5))


def test_frame_limit_truncates() -> None:
    environment = make("MinAtar/Freeway-v1", max_episode_frames=20)
    environment.reset()
    rows = [environment.step(np.zeros(2, int)) for _ in range(40)]
    assert [row for row, step in enumerate(rows, 1) if step.truncated.all()] == [20, 40]
    assert not any(step.terminated.any() for step in rows)


@pytest.mark.parametrize("part", [1, 33, 70])
def test_game_resumes_exactly(part: int) -> None:
    """The last action of a game must not stick to the next, or games before a seed would matter."""
    first, second = make(sticky_actions=0.5), make(sticky_actions=0.5)
    first.reset()
    actions = np.random.default_rng(part).integers(0, 3, (part + 60, 2))
    for row in actions[:part]:
        first.step(row)
    second.load_state_dict(first.state_dict())
    for row in actions[part:]:
        for a, b in zip(first.step(row), second.step(row), strict=True):
            assert np.array_equal(a, b)


def test_unknown_games_get_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"did you mean 'MinAtar/Breakout-v1'\?"):
        make("MinAtar/Brekout-v1")
