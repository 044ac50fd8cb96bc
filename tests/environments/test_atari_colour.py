"""Videos: an engine that renders colour frames plays exactly the agent's game."""

from __future__ import annotations

import numpy as np
import pytest

from hadamax.environments import EnvironmentSettings
from hadamax.environments.atari import AtariEngine
from hadamax.environments.settings import make_atari

pytestmark = pytest.mark.end_to_end

EVERY = np.ones(1, bool)


def engines(env: str, **settings: object) -> tuple[AtariEngine, AtariEngine]:
    resolved = EnvironmentSettings(env=env, **settings).resolved()  # type: ignore[arg-type]
    twin = make_atari(resolved, 1, threads=1, colour=True, frame_skip=1, frame_stack=1)
    return make_atari(resolved, 1, threads=1), twin


@pytest.mark.parametrize("sticky_actions", [0.0, 0.25])
@pytest.mark.parametrize("env", ["Breakout", "SpaceInvaders", "Qbert"])
def test_colour_engine_plays_the_same_game(env: str, sticky_actions: float) -> None:
    game, twin = engines(env, sticky_actions=sticky_actions)
    seed = np.array([7])
    game.reset(EVERY, seed)
    twin.reset(EVERY, seed)
    generator = np.random.default_rng(1)
    rewards = 0.0
    for _ in range(300):
        action = generator.integers(0, len(game.action_names), 1)
        step = game.step(action)
        reward, over = 0.0, False
        for _ in range(4):
            frame = twin.step(action)
            reward += frame.rewards[0]
            over = bool(frame.terminated[0] or frame.truncated[0])
            if over:
                break
        assert reward == step.rewards[0]
        assert over == bool(step.terminated[0] or step.truncated[0])
        assert frame.lives[0] == step.lives[0]
        rewards += reward
    assert rewards > 0  # otherwise the equality above could not fail


@pytest.mark.parametrize("limit", [61, 62, 63, 64])
def test_time_limit_within_a_step_ends_both_games(limit: int) -> None:
    game, twin = engines("Qbert", max_episode_frames=limit)
    for engine in (game, twin):
        engine.reset(EVERY, np.array([2]))
    frames = 0
    while not twin.step(np.zeros(1, int)).truncated[0]:
        frames += 1
    steps = 1
    while not game.step(np.zeros(1, int)).truncated[0]:
        steps += 1
    assert steps == -(-(frames + 1) // 4)


def test_frames_have_the_console_size() -> None:
    _, twin = engines("Breakout")
    observations, _ = twin.reset(EVERY, np.array([1]))
    assert observations.shape == (1, 1, 210, 160, 3)
    rows = observations[0, 0, 57:93:6, 80]  # one of each row of bricks
    assert rows.tolist() == [
        [200, 72, 72], [198, 108, 58], [180, 122, 48], [162, 162, 42], [72, 160, 72], [66, 72, 200],
    ]  # fmt: skip
