"""Rows of a step: ends, lost lives, forced FIRE, whole-game returns."""

from __future__ import annotations

import numpy as np
import pytest
from tests.probes import Event, ScriptedEngine, random_events, script

from hadamax.environments import Game, Step, VectorEnvironment

NOOP, FIRE, LEFT = range(3)
OVER, LIMIT = Event(reward=5, lives=0, terminated=True), Event(reward=5, truncated=True)
LIFE = Event(reward=-2, lives=2)


def play(*scripts: list[Event], steps: int, action: int = LEFT, **options: object) -> tuple[list[Step], ScriptedEngine]:
    names = options.pop("action_names", ("NOOP", "FIRE", "LEFT"))
    engine = ScriptedEngine(script(*scripts), len(scripts), action_names=names)
    environment = VectorEnvironment(engine, seed=0, **options)
    environment.reset()
    return [environment.step(np.full(len(scripts), action)) for _ in range(steps)], engine


def flags(steps: list[Step], name: str, env: int = 0) -> list[bool]:
    return [bool(getattr(step, name)[env]) for step in steps]


PAPERS = {"life_loss_terminal": True, "fire_after_life_loss": True}


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("end", "flag", "other"), [(OVER, "terminated", "truncated"), (LIMIT, "truncated", "terminated")]
)
def test_end_is_flagged_on_its_own_row(end: Event, flag: str, other: str, terminal: bool) -> None:
    steps, engine = play([Event(1), end, Event(3), end], steps=5, life_loss_terminal=terminal)
    assert flags(steps, flag) == [False, True, False, True, False]
    assert not any(flags(steps, other))
    assert all(flags(steps, "agent_acted"))
    assert [step.ended.tolist() for step in steps] == [[], [0], [], [0], []]
    assert [step.games for step in steps] == [[], [Game(0, 6.0, 2)], [], [Game(0, 8.0, 2)], []]
    assert [step.rewards[0] for step in steps] == [1, 5, 3, 5, 0]
    for i, row in enumerate((1, 3)):  # both the final observation and the next game's first are kept
        assert np.array_equal(steps[row].final_observations[0], engine.lasts[i][1])
        assert np.array_equal(steps[row].observations[0], engine.newest[row][0])
        assert not np.array_equal(engine.lasts[i][1], engine.newest[row][0])


def test_game_over_on_the_first_row() -> None:
    steps, _ = play([OVER, Event(1)], steps=2, **PAPERS)
    assert flags(steps, "terminated") == [True, False]
    assert steps[0].games == [Game(0, 5.0, 1)]


def test_termination_wins_over_truncation() -> None:
    steps, _ = play([Event(lives=0, terminated=True, truncated=True)], steps=1)
    assert flags(steps, "terminated") == [True]
    assert flags(steps, "truncated") == [False]
    assert steps[0].ended.tolist() == [0]


def test_life_loss_ends_the_episode_but_not_the_game() -> None:
    steps, _ = play([Event(1), LIFE, Event(4, lives=2), OVER], steps=4, **PAPERS)
    assert flags(steps, "terminated") == [False, True, False, True]
    assert [step.ended.size for step in steps] == [0, 0, 0, 1]
    assert steps[3].games == [Game(0, 8.0, 4)]


def test_life_loss_ends_nothing_by_default() -> None:
    steps, engine = play([Event(), LIFE, Event(lives=2), OVER], steps=4)
    assert flags(steps, "terminated") == [False, False, False, True]
    assert all(flags(steps, "agent_acted"))
    assert [int(a[0]) for a in engine.executed] == [LEFT] * 4


@pytest.mark.parametrize("terminal", [True, False])
def test_forced_fire_after_life_loss_is_not_learned_from(terminal: bool) -> None:
    lost = [Event(), LIFE, Event(lives=2), Event(lives=1), Event(lives=1), Event(lives=1)]
    options = {"life_loss_terminal": terminal, "fire_after_life_loss": True}
    steps, engine = play(lost, steps=6, **options)
    assert [int(a[0]) for a in engine.executed] == [LEFT, LEFT, FIRE, LEFT, FIRE, LEFT]
    assert flags(steps, "agent_acted") == [True, True, False, True, False, True]
    assert flags(steps, "terminated") == [False, terminal, False, terminal, False, False]


def test_life_loss_during_forced_fire_forces_it_again() -> None:
    steps, engine = play([LIFE, Event(lives=1), Event(lives=1)], steps=3, **PAPERS)
    assert [int(a[0]) for a in engine.executed] == [LEFT, FIRE, FIRE]
    assert flags(steps, "terminated") == [True, True, False]


@pytest.mark.parametrize("end", [OVER, LIMIT._replace(lives=2)])
def test_life_loss_at_game_over_forces_nothing(end: Event) -> None:
    steps, engine = play([Event(), end, Event(), Event()], steps=4, **PAPERS)
    assert flags(steps, "terminated") == [False, end.terminated, False, False]
    assert flags(steps, "truncated") == [False, end.truncated, False, False]
    assert all(flags(steps, "agent_acted"))
    assert [int(a[0]) for a in engine.executed] == [LEFT] * 4


def test_new_game_with_fewer_lives_is_no_life_loss() -> None:
    steps, engine = play([Event(lives=5), LIMIT, Event(), Event()], steps=4, **PAPERS)
    assert not any(flags(steps, "terminated"))
    assert flags(steps, "truncated") == [False, True, False, False]
    assert [int(a[0]) for a in engine.executed] == [LEFT] * 4


def test_zero_lives_before_game_over_are_one_end() -> None:
    """Some games show zero lives for a few frames before the end: no FIRE and one end only."""
    steps, engine = play([Event(lives=1), Event(lives=0), Event(lives=0), OVER], steps=4, **PAPERS)
    assert flags(steps, "terminated") == [True, False, False, True]
    assert [int(a[0]) for a in engine.executed] == [LEFT, FIRE, LEFT, LEFT]


def test_gained_life_is_no_life_loss() -> None:
    steps, _ = play([Event(lives=4), Event(lives=4), Event(lives=3)], steps=3, **PAPERS)
    assert flags(steps, "terminated") == [False, False, True]


def test_game_without_fire_is_not_forced() -> None:
    steps, engine = play([LIFE, Event(lives=2)], steps=2, action=1, action_names=("NOOP", "UP"), **PAPERS)
    assert flags(steps, "terminated") == [True, False]
    assert all(flags(steps, "agent_acted"))
    assert [int(a[0]) for a in engine.executed] == [1, 1]


def test_environments_are_independent() -> None:
    """Two end at once and one loses a life; FIRE is forced in that one only."""
    steps, engine = play([OVER], [LIFE], [Event(7)], [LIMIT], steps=2, **PAPERS)
    first, second = steps
    assert first.terminated.tolist() == [True, True, False, False]
    assert first.truncated.tolist() == [False, False, False, True]
    assert first.ended.tolist() == [0, 3]
    assert first.games == [Game(0, 5.0, 1), Game(3, 5.0, 1)]
    assert np.array_equal(first.final_observations, [frame for _, frame in engine.lasts])
    assert engine.executed[1].tolist() == [LEFT, FIRE, LEFT, LEFT]
    assert second.agent_acted.tolist() == [True, False, True, True]


def test_agent_actions_are_not_modified() -> None:
    environment = VectorEnvironment(ScriptedEngine(script([LIFE])), seed=0, **PAPERS)
    environment.reset()
    actions = np.array([LEFT])
    environment.step(actions)
    environment.step(actions)
    assert actions.tolist() == [LEFT]


def test_reset_clears_game_and_forced_fire() -> None:
    engine = ScriptedEngine(script([Event(9), LIFE]))
    environment = VectorEnvironment(engine, seed=0, **PAPERS)
    environment.reset()
    for _ in range(2):
        environment.step(np.array([LEFT]))
    environment.reset()
    engine.rule = script([OVER])
    step = environment.step(np.array([LEFT]))
    assert step.agent_acted.all()
    assert step.games == [Game(0, 5.0, 1)]


def test_returns_and_lengths_equal_an_independent_count() -> None:
    environment = VectorEnvironment(ScriptedEngine(random_events, 4, reseed_steps=20), seed=5, **PAPERS)
    environment.reset()
    returns, lengths, games = np.zeros(4), np.zeros(4, int), 0
    for _ in range(200):
        step = environment.step(np.zeros(4, int))
        returns += step.rewards
        lengths += 1
        assert step.games == [Game(int(e), returns[e], int(lengths[e])) for e in step.ended]
        games += len(step.games)
        returns[step.ended] = lengths[step.ended] = 0
    assert games > 20
