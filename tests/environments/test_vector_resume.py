"""Exact resume of the vector environment: seeds, action log, replayed actions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from tests.probes import Event, ScriptedEngine, random_events

from hadamax.environments import Step, VectorEnvironment

N = 3


def make(
    seed: int = 7, *, reseed_steps: int = 40, num_envs: int = N, rule=random_events, kind=ScriptedEngine
) -> VectorEnvironment:
    engine = kind(rule, num_envs, stack=4, reseed_steps=reseed_steps)
    return VectorEnvironment(engine, seed=seed, life_loss_terminal=True, fire_after_life_loss=True)


def play(environment: VectorEnvironment, steps: int, seed: int = 0) -> list[Step]:
    actions = np.random.default_rng(seed)
    return [environment.step(actions.integers(0, 3, environment.num_envs)) for _ in range(steps)]


def assert_same(first: Step, second: Step) -> None:
    assert first.games == second.games
    for name, value in first._asdict().items():
        assert np.array_equal(value, getattr(second, name)), name


def resumed(state: dict, **options) -> VectorEnvironment:
    environment = make(**options)
    environment.load_state_dict(state)
    return environment


@pytest.mark.parametrize("reseed_steps", [0, 40, 10**9])
def test_resume_is_exact_at_any_step(reseed_steps: int) -> None:
    environment = make(reseed_steps=reseed_steps)
    environment.reset()
    moments = np.random.default_rng(0).integers(1, 12, 25)
    forced = 0
    for number, steps in enumerate([0, *moments]):
        play(environment, steps, seed=number)
        forced += bool(environment.state_dict()["must_fire"].any())
        other = resumed(environment.state_dict(), reseed_steps=reseed_steps)
        assert np.array_equal(environment.observations, other.observations)
        later = play(copy.deepcopy(environment), 30, seed=99)
        for expected, step in zip(later, play(other, 30, seed=99), strict=True):
            assert_same(expected, step)
    assert forced > 1  # some saves were made before a forced FIRE


def test_resumed_state_can_be_saved_again() -> None:
    environment = make()
    environment.reset()
    other = make()
    other.reset()
    for part in range(4):
        play(environment, 37, seed=part)
        play(other, 37, seed=part)
        other = resumed(other.state_dict())
        for name, value in environment.state_dict().items():
            assert np.array_equal(value, other.state_dict()[name]), name


def test_state_loads_over_games_in_progress() -> None:
    environment, other = make(), make(seed=7)
    environment.reset()
    other.reset()
    play(environment, 90)
    play(other, 33, seed=5)
    other.load_state_dict(environment.state_dict())
    for expected, step in zip(play(environment, 50, 3), play(other, 50, 3), strict=True):
        assert_same(expected, step)


def test_state_is_a_copy() -> None:
    environment = make()
    environment.reset()
    play(environment, 30)
    state = environment.state_dict()
    before = copy.deepcopy(state)
    play(environment, 100, seed=2)
    assert all(np.array_equal(before[name], state[name]) for name in state)


def test_forced_fire_is_in_the_log() -> None:
    environment = make(reseed_steps=10**9)
    environment.reset()
    play(environment, 80)
    assert np.array_equal(environment.state_dict()["actions"], environment.engine.executed)


def test_games_are_reseeded_only_when_the_log_is_long() -> None:
    environment = make(reseed_steps=40)
    environment.reset()
    resets, seeded_at = environment.engine.resets, [0] * N
    for row in range(1, 401):
        known = len(resets)
        (step,) = play(environment, 1, seed=row)
        expected = [e for e in step.ended if row - seeded_at[e] >= 40]
        assert [env for env, _ in resets[known:]] == expected
        for env in expected:
            seeded_at[env] = row
    assert len(resets) > N + 10
    seeds = [seed for _, seed in resets]
    assert len(set(seeds)) == len(seeds)
    assert all(0 < seed < 2**31 for seed in seeds)


def test_game_ending_at_the_log_limit_is_reseeded() -> None:
    environment = make(num_envs=1, rule=lambda env, step, state: Event(terminated=step % 10 == 9))
    environment.reset()
    seeded = [play(environment, 1) and len(environment.engine.resets) for _ in range(81)]
    assert [row for row in range(1, 81) if seeded[row] > seeded[row - 1]] == [39, 79]


def test_seeds_repeat_and_differ() -> None:
    def seeds(seed: int, steps: int = 200) -> list[tuple[int, int]]:
        environment = make(seed)
        environment.reset()
        play(environment, steps)
        return environment.engine.resets

    assert seeds(1) == seeds(1)
    assert not {s for _, s in seeds(1)} & {s for _, s in seeds(2)}


@pytest.mark.parametrize("reseed_steps", [0, 40, 10**9])
def test_log_is_compacted_without_loss(reseed_steps: int) -> None:
    environment = make(reseed_steps=reseed_steps)
    environment.reset()
    play(environment, 2600)  # the log starts with room for 1024 rows
    starts = environment.state_dict()["starts"]
    assert starts.min() == 0
    log = environment.state_dict()["actions"]
    assert np.array_equal(log, environment.engine.executed[2600 - len(log) :])
    assert len(log) == 2600 if reseed_steps == 10**9 else len(log) < 200
    other = resumed(environment.state_dict(), reseed_steps=reseed_steps)
    for expected, step in zip(play(environment, 50, 3), play(other, 50, 3), strict=True):
        assert_same(expected, step)


def other_rewards(env: int, step: int, state: int) -> Event:
    event = random_events(env, step, state)
    return event._replace(reward=event.reward + (step == 3))


class OtherFrames(ScriptedEngine):
    """Equal rewards and ends with other pictures, as from another emulator."""

    def _frame(self, env: int) -> np.ndarray:
        return super()._frame(env) ^ 1


def longer_games(env: int, step: int, state: int) -> Event:
    return random_events(env, step, state)._replace(terminated=False, truncated=False)


@pytest.mark.parametrize(
    "options",
    [{"rule": other_rewards}, {"rule": longer_games}, {"seed": 8}, {"kind": OtherFrames}],
    ids=["rewards", "ends", "seed", "frames"],
)
def test_differing_replay_is_an_error(options: dict) -> None:
    environment = make(reseed_steps=10**9)
    environment.reset()
    while environment._steps.min() < 5:
        play(environment, 1, seed=int(environment._steps.sum()))
    with pytest.raises(RuntimeError, match="the replayed games differ"):
        resumed(environment.state_dict(), **{"reseed_steps": 10**9, **options})


def test_state_of_another_num_envs_is_an_error() -> None:
    environment = make()
    environment.reset()
    with pytest.raises(RuntimeError, match="have 3 environments, not 2"):
        resumed(environment.state_dict(), num_envs=2)


@pytest.mark.parametrize(("name", "value"), [("actions", 200), ("must_fire", None), ("starts", None)])
def test_invalid_state_is_an_error_before_replay(name: str, value: int | None) -> None:
    environment = make()
    environment.reset()
    play(environment, 5)
    state = environment.state_dict()
    state[name] = state[name][:1] if value is None else np.full_like(state[name], value)
    with pytest.raises(RuntimeError, match="the saved games"):
        resumed(state)
