"""Games in sequence: padding, common actions, the change from one game to the next, and exact resume."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from tests.probes import Event, ScriptedEngine, random_events

from hadamax.environments import EnvironmentSettings, VectorEnvironment, make_environment, make_groups
from hadamax.environments.gymnasium import MINATAR_ACTIONS
from hadamax.environments.sequence import SequenceEngine, all_actions
from hadamax.errors import UserError

ACTIONS = {"one": ("NOOP", "FIRE", "LEFT"), "two": ("NOOP", "UP", "LEFT")}


class Planes(ScriptedEngine):
    """Observations [channels, 2, 2]; `executed` is kept by the class, by game."""

    def __init__(self, name: str, num_envs: int, rule=random_events, executed: dict | None = None) -> None:
        super().__init__(rule, num_envs, action_names=ACTIONS[name], reseed_steps=20)
        self.channels = {"one": 2, "two": 3}[name]
        self.observation_shape = (self.channels, 2, 2)
        if executed is not None:
            self.executed = executed.setdefault(name, [])

    def _observations(self) -> np.ndarray:
        frames = np.stack([self._frame(env) for env in range(self.num_envs)])
        return np.repeat(frames.reshape(-1, 1, 2, 2), self.channels, axis=1)


def make(rule=random_events, *, num_envs: int = 2, visits: int = 4, visit_steps: int | None = 10, executed=None):
    engine = SequenceEngine(
        ("one", "two"),
        partial(Planes, rule=rule, executed=executed),
        num_envs,
        visits=visits,
        visit_steps=visit_steps,
    )
    return VectorEnvironment(engine, seed=7, life_loss_terminal=True, fire_after_life_loss=True)


def nothing(env: int, step: int, state: int) -> Event:
    return Event(1.0)


def still(environment: VectorEnvironment) -> np.ndarray:
    return np.zeros(environment.num_envs, np.int64)


def test_observations_are_padded_with_empty_channels() -> None:
    environment = make()
    observations = environment.reset()
    assert environment.observation_shape == observations.shape[1:] == (3, 2, 2)
    assert observations[:, :2].all()
    assert not observations[:, 2].any()


def test_actions_are_mapped_to_those_of_the_game_or_to_its_no_op() -> None:
    executed: dict = {}
    environment = make(nothing, num_envs=4, executed=executed)
    assert environment.action_names == ("NOOP", "FIRE", "UP", "LEFT")
    environment.reset()
    for _ in range(20):
        environment.step(np.arange(4))
    assert (np.array(executed["one"]) == [0, 1, 0, 2]).all()
    assert (np.array(executed["two"]) == [0, 0, 1, 2]).all()


def test_order_of_actions_does_not_depend_on_the_order_of_games() -> None:
    assert all_actions([ACTIONS["one"], ACTIONS["two"]]) == all_actions([ACTIONS["two"], ACTIONS["one"]])
    numbers = tuple(str(i) for i in range(12))
    assert all_actions([numbers[:3], numbers]) == numbers


def test_change_of_game_truncates_without_a_score() -> None:
    environment = make(nothing)
    environment.reset()
    for _ in range(9):
        assert environment.step(still(environment)).ended.size == 0
    assert environment.sequence_game == "one"
    last = environment.step(still(environment))
    assert environment.sequence_game == "two"
    assert last.truncated.all()
    assert not last.terminated.any()
    assert last.games == []
    assert not last.final_observations[:, 2].any(), "the last observation is of the first game"
    assert last.observations[:, 2].all(), "the next observation is of the second game"


def test_games_that_end_before_the_change_are_scored() -> None:
    def rule(env: int, step: int, state: int) -> Event:
        return Event(1.0, 3, terminated=step == 4)

    environment = make(rule)
    environment.reset()
    games = [game for _ in range(10) for game in environment.step(still(environment)).games]
    assert [(game.env, game.raw_return, game.steps) for game in games] == [(0, 5.0, 5), (1, 5.0, 5)]


def test_games_take_turns_and_the_last_one_stays() -> None:
    environment = make(visits=3)
    environment.reset()
    order = []
    for _ in range(50):
        order.append(environment.sequence_game)
        environment.step(still(environment))
    assert order == ["one"] * 10 + ["two"] * 10 + ["one"] * 30


def test_fire_after_a_lost_life_only_in_games_that_have_it() -> None:
    def rule(env: int, step: int, state: int) -> Event:
        return Event(0.0, 3 if step < 5 else 2)

    environment = make(rule)
    environment.reset()
    acted = np.array([environment.step(still(environment)).agent_acted.all() for _ in range(20)])
    assert (~acted).nonzero()[0].tolist() == [6]


def test_resume_is_exact_in_every_visit_and_at_every_change() -> None:
    environment = make(visits=5)
    environment.reset()
    actions = np.random.default_rng(0)
    for _ in range(48):
        other = make(visits=5)
        other.load_state_dict(environment.state_dict())
        assert np.array_equal(environment.observations, other.observations)
        for step in range(12):
            if step == 1:
                saved = environment.state_dict()
            chosen = actions.integers(0, 4, environment.num_envs)
            expected, found = environment.step(chosen), other.step(chosen)
            assert expected.games == found.games
            assert np.array_equal(expected.observations, found.observations)
        environment = make(visits=5)
        environment.load_state_dict(saved)


def test_minatar_games_share_ten_channels_and_six_actions() -> None:
    names = ("Breakout", "Asterix", "SpaceInvaders", "Freeway", "Seaquest")
    settings = EnvironmentSettings(",".join(f"MinAtar/{name}-v1" for name in names))
    environment = make_environment(settings, 2, seed=1)
    assert environment.observation_shape == (10, 10, 10)
    assert sorted(environment.action_names) == sorted(MINATAR_ACTIONS)
    assert settings.resolved().game == settings.env
    assert settings.fingerprint() == EnvironmentSettings("MinAtar/Breakout-v1").fingerprint()


def test_a_sequence_of_atari_games_equals_each_game_alone() -> None:
    """The first steps of each visit equal those of the game by itself, with its own action numbers."""
    both = EnvironmentSettings("Pong,Boxing", noop_max=0)
    environment = make_environment(both, 2, seed=3, visits=2, visit_steps=6)
    environment.reset()
    for game in ("Pong", "Boxing"):
        alone = make_environment(EnvironmentSettings(game, noop_max=0), 2, seed=3)
        alone.reset()
        assert environment.sequence_game == game
        for action in ("NOOP", "FIRE", "RIGHT", "RIGHT", "LEFT"):
            step = environment.step(np.full(2, environment.action_names.index(action)))
            expected = alone.step(np.full(2, alone.action_names.index(action)))
            assert np.array_equal(step.observations, expected.observations)
            assert np.array_equal(step.rewards, expected.rewards)
        environment.step(still(environment))


def test_groups_change_games_together() -> None:
    settings = EnvironmentSettings("MinAtar/Breakout-v1,MinAtar/Freeway-v1")
    groups = make_groups(settings, 4, 2, seed=1, visits=2, visit_steps=3)
    groups.reset()
    for step in range(4):
        assert groups.sequence_game == ("MinAtar/Breakout-v1" if step < 3 else "MinAtar/Freeway-v1")
        for group in groups.groups:
            group.step(still(group))


def test_starting_with_another_game_keeps_observations_and_actions() -> None:
    settings = EnvironmentSettings("MinAtar/Breakout-v1,MinAtar/Freeway-v1")
    first, second = (make_environment(settings.starting_with(game), 1, seed=1) for game in settings.games)
    assert first.observation_shape == second.observation_shape
    assert first.action_names == second.action_names
    assert second.sequence_game == "MinAtar/Freeway-v1"


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("Pong,Pong", "names a game twice"),
        ("Pong,MinAtar/Breakout-v1", "mixes Pong of atari and MinAtar/Breakout-v1 of minatar"),
        ("CartPole-v1,Acrobot-v1", "differ in their actions and number of channels only"),
        ("Pong,Pung", "mixes Pong of atari and Pung of gymnasium"),
        ("MinAtar/Breakout-v1,MinAtar/Pung-v1", "is unknown"),
    ],
)
def test_impossible_sequences_are_refused(env: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_environment(EnvironmentSettings(env), 1, seed=1)
