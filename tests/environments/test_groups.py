"""Environment groups: the same games as one group, in the order of alternation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from tests.environments.test_vector_resume import assert_same
from tests.probes import ScriptedEngine, random_events

from hadamax.environments import (
    EnvironmentGroups,
    EnvironmentSettings,
    VectorEnvironment,
    make_environment,
    make_groups,
)

pytestmark = pytest.mark.end_to_end

SIZES = (3, 2)


def scripted(number: int, first: int = 0, kind: type[ScriptedEngine] = ScriptedEngine) -> VectorEnvironment:
    engine = kind(random_events, number, stack=4, reseed_steps=40)
    return VectorEnvironment(engine, seed=7, life_loss_terminal=True, fire_after_life_loss=True, first=first)


def grouped(kind: type[ScriptedEngine] = ScriptedEngine) -> EnvironmentGroups:
    return EnvironmentGroups([scripted(number, first, kind) for number, first in zip(SIZES, (0, 3), strict=True)])


def in_turn(groups: EnvironmentGroups, actions: np.ndarray) -> list[Any]:
    """Step all groups; each is sent before the first is received."""
    for group in groups.groups:
        group.send(actions[group.first : group.first + group.num_envs])
    return [group.receive() for group in groups.groups]


def assert_same_games(whole: Any, parts: list[Any]) -> None:
    for name in ("observations", "rewards", "terminated", "truncated", "agent_acted", "final_observations"):
        together = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(getattr(whole, name), together), name
    assert whole.games == [game for part in parts for game in part.games]
    assert whole.ended.tolist() == [*parts[0].ended, *(parts[1].ended + SIZES[0])]


def test_groups_play_the_games_of_one_group() -> None:
    whole, groups = scripted(sum(SIZES)), grouped()
    assert np.array_equal(whole.reset(), groups.reset())
    assert (groups.num_envs, groups.num_actions) == (5, 3)
    games = 0
    for actions in np.random.default_rng(0).integers(0, 3, (200, 5)):
        step = whole.step(actions)
        assert_same_games(step, in_turn(groups, actions))
        assert np.array_equal(whole.observations, groups.observations)
        games += len(step.games)
    assert games > 50


def test_ale_groups_play_the_games_of_one_group() -> None:
    """Through `send` and `receive` of ale-py, with both groups running at once."""
    settings = EnvironmentSettings("Breakout", sticky_actions=0.25, max_episode_frames=200, screen_size=44)
    whole = make_environment(settings, 5, seed=1, threads=2)
    groups = make_groups(settings, 5, 2, seed=1, threads=2)
    for environment in (whole, *groups.groups):
        environment.engine.reseed_steps = 60
    assert np.array_equal(whole.reset(), groups.reset())
    games = 0
    for actions in np.random.default_rng(0).integers(0, whole.num_actions, (150, 5)):
        step = whole.step(actions)
        assert_same_games(step, in_turn(groups, actions))
        games += len(step.games)
    assert games > 10


def test_groups_resume_exactly() -> None:
    groups = grouped()
    groups.reset()
    for actions in np.random.default_rng(0).integers(0, 3, (77, 5)):
        in_turn(groups, actions)
    other = grouped()
    assert np.array_equal(other.load_state_dict(copy.deepcopy(groups.state_dict())), groups.observations)
    for actions in np.random.default_rng(1).integers(0, 3, (50, 5)):
        for first, second in zip(in_turn(groups, actions), in_turn(other, actions), strict=True):
            assert_same(first, second)


def test_state_of_other_group_sizes_is_an_error() -> None:
    groups, whole = grouped(), scripted(5)
    groups.reset()
    whole.reset()
    with pytest.raises(RuntimeError, match="do not have 2 groups"):
        grouped().load_state_dict(whole.state_dict())
    with pytest.raises(RuntimeError, match="do not have 2 groups"):
        grouped().load_state_dict({"group_0": groups.state_dict()["group_0"]})
