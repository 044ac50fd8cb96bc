"""Real Atari: protocol settings, seeds, exact resume."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hadamax.environments import EnvironmentSettings, Step, VectorEnvironment, make_environment
from hadamax.environments.atari import AtariEngine
from hadamax.errors import UserError

pytestmark = pytest.mark.end_to_end


def make(num_envs: int = 2, seed: int = 1, reseed_steps: int = 4000, **settings: object) -> VectorEnvironment:
    environment = make_environment(EnvironmentSettings(**{"env": "Breakout", **settings}), num_envs, seed=seed)
    environment.engine.reseed_steps = reseed_steps
    return environment


def play(environment: VectorEnvironment, steps: int, seed: int = 0) -> Iterator[Step]:
    actions = np.random.default_rng(seed)
    for _ in range(steps):
        yield environment.step(actions.integers(0, environment.num_actions, environment.num_envs))


def observations(steps: int = 60, **settings: object) -> np.ndarray:
    environment = make(**settings)
    return np.array([environment.reset(), *(step.observations for step in play(environment, steps))])


def test_engine_attributes() -> None:
    environment = make(1)
    assert environment.observation_shape == (4, 84, 84)
    assert environment.observation_dtype == np.uint8
    assert environment.input_scale == 255.0
    assert environment.frames_per_step == 4
    assert environment.reset().dtype == np.uint8


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ("NOOP", "FIRE", "RIGHT", "LEFT")),
        ({"env": "Freeway"}, ("NOOP", "UP", "DOWN")),
        ({"env": "Pong"}, ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")),
    ],
)
def test_minimal_action_set(settings: dict, names: tuple[str, ...]) -> None:
    assert make(1, **settings).action_names == names


@pytest.mark.parametrize("settings", [{"full_action_set": True}, {"protocol": "sticky"}])
def test_full_action_set(settings: dict) -> None:
    environment = make(1, **settings)
    assert environment.num_actions == 18
    assert environment.action_names[:2] == ("NOOP", "FIRE")
    assert environment.action_names[-1] == "DOWNLEFTFIRE"


def test_sizes_follow_the_settings() -> None:
    environment = make(1, frame_skip=2, frame_stack=3, screen_size=40)
    assert environment.reset().shape == (1, 3, 40, 40)
    assert environment.frames_per_step == 2


@pytest.mark.parametrize("repeat", [True, False])
def test_first_stack_of_a_game(repeat: bool) -> None:
    first = make(repeat_first_frame=repeat).reset()
    assert first[:, -1].any()
    assert np.array_equal(first[:, :-1], np.repeat(first[:, -1:], 3, axis=1) * repeat)


def test_same_seed_repeats_and_another_differs() -> None:
    first = observations(seed=1)
    assert np.array_equal(first, observations(seed=1))
    assert not np.array_equal(first, observations(seed=2))
    assert not np.array_equal(first[:, 0], first[:, 1])  # each environment has its own seed


def test_thread_count_changes_nothing() -> None:
    results = []
    for threads in (1, 2):
        environment = make_environment(EnvironmentSettings("Pong"), 3, seed=4, threads=threads)
        environment.reset()
        results.append([step.observations for step in play(environment, 40)])
    assert np.array_equal(*results)


def test_environment_does_not_depend_on_num_envs() -> None:
    assert np.array_equal(observations(num_envs=3)[-1][0], _first_environment_alone())


def _first_environment_alone() -> np.ndarray:
    environment, actions = make(1), np.random.default_rng(0)
    environment.reset()
    for _ in range(60):
        step = environment.step(actions.integers(0, 4, 3)[:1])
    return step.observations[0]


def test_only_sticky_actions_change_the_game() -> None:
    plain = observations(sticky_actions=0.0)
    assert np.array_equal(plain[0], observations(steps=0, sticky_actions=0.25)[0])
    assert not np.array_equal(plain, observations(sticky_actions=0.25))


def test_environment_rewards_are_not_clipped() -> None:
    environment = make(env="Seaquest", reward_clipping=True, max_episode_frames=1200)
    environment.reset()
    total, best, scores = np.zeros(2), 0.0, []
    for step in play(environment, 320):
        total += step.rewards
        best = max(best, step.rewards.max())
        for game in step.games:
            assert game.raw_return == total[game.env]
            total[game.env] = 0
            scores.append(game.raw_return)
    assert best >= 20
    assert max(scores) >= 20


@pytest.mark.parametrize("sticky_actions", [0.0, 0.25])
def test_game_resumes_exactly(sticky_actions: float) -> None:
    options = {"sticky_actions": sticky_actions, "max_episode_frames": 480, "reseed_steps": 60}
    environment = make(2, **options)
    environment.reset()
    reseeded = 0
    for part, steps in enumerate((1, 110, 85)):
        lost = [(~step.agent_acted).any() for step in play(environment, steps, seed=part)]
        other = make(2, **options)
        assert np.array_equal(environment.observations, other.load_state_dict(environment.state_dict()))
        reseeded = int(environment.state_dict()["seed_count"].max())
    assert any(lost)
    assert reseeded > 1
    for step, expected in zip(play(other, 150, 9), play(environment, 150, 9), strict=True):
        for name, value in expected._asdict().items():
            assert np.array_equal(value, getattr(step, name)), name


@pytest.mark.parametrize("changed", [{"env": "Pong"}, {"noop_max": 3}, {"repeat_first_frame": False}])
def test_state_of_other_settings_is_an_error(changed: dict) -> None:
    environment = make()
    environment.reset()
    list(play(environment, 2))
    with pytest.raises(RuntimeError, match="the replayed games differ"):
        make(**changed).load_state_dict(environment.state_dict())


def test_invalid_settings_are_one_line_errors() -> None:
    with pytest.raises(UserError, match="max_episode_frames: 3 is less than one step of 4 frames"):
        make(max_episode_frames=3)
    with pytest.raises(UserError, match="env: 'Pog' is unknown; did you mean 'Pong'"):
        AtariEngine("Pog", 1)
