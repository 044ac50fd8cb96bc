"""The replay against one that keeps every observation: rows that can be drawn and their content."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tests.probes import Event, ScriptedEngine, random_events, script
from tests.replay.oracle import Oracle, go_on, play

from hadamax.environments import EnvironmentSettings, VectorEnvironment, make_environment
from hadamax.errors import UserError
from hadamax.replay import memory
from hadamax.replay.buffer import Replay
from hadamax.replay.memory import free_bytes


def scripted(num_envs: int = 3, *, stack: int = 4, lives: bool = True, repeat: bool = True) -> VectorEnvironment:
    engine = ScriptedEngine(random_events, num_envs, stack=stack)
    return VectorEnvironment(
        engine, seed=1, life_loss_terminal=lives, fire_after_life_loss=True, repeat_first_frame=repeat
    )


def agrees(replay: Replay, oracle: Oracle, *, batches: int = 40, beta: float = 1.0) -> set[int]:
    """Compare drawn rows with the oracle and return their slots."""
    expected = oracle.transitions(replay)
    assert set(np.flatnonzero(replay.ready)) == set(expected)
    assert len(replay) == len(expected)
    seen: set[int] = set()
    for _ in range(batches):
        batch = replay.sample(32, beta)
        for i, slot in enumerate(batch.slots.tolist()):
            wanted = expected[slot]
            assert np.array_equal(batch.observations[i], wanted.observation)
            assert batch.actions[i] == wanted.action
            assert batch.returns[i].item() == pytest.approx(wanted.reward, abs=1e-5)
            assert batch.discounts[i].item() == pytest.approx(wanted.discount, abs=1e-6)
            if wanted.next_observation is not None:
                assert np.array_equal(batch.next_observations[i], wanted.next_observation)
            seen.add(slot)
    return seen


@pytest.mark.parametrize("n_step", [1, 3, 7])
@pytest.mark.parametrize("steps", [9, 300])
@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize("lives", [False, True])
def test_scripted_games_equal_the_oracle(n_step: int, steps: int, prioritised: bool, lives: bool) -> None:
    """Before the ring is full and after it wrapped around many times."""
    replay, oracle = play(scripted(lives=lives), steps, n_step=n_step, prioritised=prioritised, slack=5)
    seen = agrees(replay, oracle)
    assert steps == 9 or len(seen) > 40


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("repeat", [False, True])
def test_other_stack_sizes_equal_the_oracle(stack: int, repeat: bool) -> None:
    agrees(*play(scripted(stack=stack, repeat=repeat), 200, n_step=3))


def test_smallest_ring_equals_the_oracle() -> None:
    """No slack: a leaving row is overwritten at once, also by two rows of a truncated game."""
    limits = [Event(1, truncated=True)] * 500
    engine = ScriptedEngine(script(limits, [Event()] * 500), 2, stack=3)
    agrees(*play(VectorEnvironment(engine, seed=0), 100, n_step=2, size=8))


@pytest.mark.parametrize(
    ("game", "options"),
    [
        ("Breakout", {"max_episode_frames": 40}),
        ("Breakout", {"max_episode_frames": 40, "repeat_first_frame": False}),
        ("MinAtar/Breakout-v1", {}),
        ("CartPole-v1", {"max_episode_frames": 9}),
    ],
)
def test_real_games_equal_the_oracle(game: str, options: dict[str, Any]) -> None:
    environment = make_environment(EnvironmentSettings(game, **options), 2, seed=3, threads=1)
    agrees(*play(environment, 120, n_step=3, slack=4), batches=10)


def test_transitions_are_equally_likely() -> None:
    replay, _ = play(scripted(), 300, n_step=3, slack=9)
    drawn = np.concatenate([replay.sample(64).slots for _ in range(500)])
    counts = np.bincount(drawn, minlength=len(replay.ready))
    assert (counts[~replay.ready] == 0).all()
    assert stats.chisquare(counts[replay.ready]).pvalue > 0.001


def test_priorities_set_frequencies_and_weights_correct_them() -> None:
    replay, _ = play(scripted(), 300, n_step=3, prioritised=True)
    slots = np.flatnonzero(replay.ready)
    priorities = np.random.default_rng(0).uniform(0.1, 5, len(slots))
    replay.prioritise(slots, priorities)
    drawn = np.concatenate([replay.sample(64).slots for _ in range(500)])
    counts = np.bincount(drawn, minlength=len(replay.ready))[slots]
    # Drawn one from each part of the mass, so closer to the expectation than independent draws.
    expected = priorities / priorities.sum() * counts.sum()
    assert stats.chisquare(counts, expected).pvalue > 0.001
    batch = replay.sample(32, beta=0.7)
    probabilities = replay.tree.get(batch.slots) / replay.tree.total
    weights = (len(replay) * probabilities) ** -0.7
    np.testing.assert_allclose(batch.weights, weights / weights.max(), rtol=1e-5)
    assert replay.sample(32, beta=0.0).weights.tolist() == [1.0] * 32


def test_new_row_gets_the_highest_priority() -> None:
    environment = scripted(1)
    replay, oracle = play(environment, 50, n_step=1, prioritised=True)
    replay.prioritise(replay.sample(4).slots, np.array([0.5, 7.0, 0.25, 0.125]))
    before = replay.ready.copy()
    go_on(environment, replay, oracle, 3, seed=5)
    new = np.flatnonzero(replay.ready & ~before)
    assert len(new)
    assert replay.tree.get(new).tolist() == [7.0] * len(new)
    agrees(replay, oracle)


def test_priority_of_an_overwritten_row_is_ignored() -> None:
    environment = scripted(1)
    replay, oracle = play(environment, 200, n_step=1, prioritised=True, size=20)
    batch = replay.sample(16)
    go_on(environment, replay, oracle, 15, seed=6)
    replay.prioritise(batch.slots, np.full(16, 3.0))
    assert np.array_equal(replay.tree.get(np.arange(len(replay.ready))) > 0, replay.ready)
    agrees(replay, oracle)


def test_sampling_an_empty_replay_is_an_error() -> None:
    replay, _ = play(scripted(1), 0, n_step=1)
    with pytest.raises(ValueError, match="no transition yet"):
        replay.sample(2)


def test_same_seed_draws_the_same() -> None:
    first, second, other = (play(scripted(), 100, n_step=2, **{"seed": s})[0] for s in (4, 4, 4))
    other.generator.manual_seed(9)
    assert np.array_equal(first.sample(20).slots, second.sample(20).slots)
    assert not np.array_equal(first.sample(20).slots, other.sample(20).slots)


def test_million_atari_transitions_fit_in_7_5_gigabytes() -> None:
    """Extrapolated from a fiftieth of them."""
    options: dict[str, Any] = {"stack": 4, "n_step": 3, "slack": 512}
    for prioritised in (False, True):
        replay = Replay(20_000, 1, (4, 84, 84), np.dtype(np.uint8), prioritised=prioritised, **options)
        arrays = [replay.actions, replay.rewards, replay.flags, replay.ready, replay.frames.ages]
        size = sum(a.nbytes for a in arrays) + replay.frames.data.nbytes + (replay.tree.nbytes if replay.tree else 0)
        assert size <= replay.nbytes
        assert replay.nbytes / replay.length * (10**6 + replay.length - 20_000) <= 7.1e9


def test_too_large_replay_is_an_error_before_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * 10**9)
    with pytest.raises(UserError) as caught:
        Replay(10**6, 1, (4, 84, 84), np.dtype(np.uint8), stack=4)
    line = str(caught.value)
    assert line.startswith(
        "replay_size: 1,000,000 transitions need 7.07 GB and there is 2.00 GB on cpu; expected up to 282,"
    )
    monkeypatch.undo()
    with pytest.raises(UserError, match="replay_size: 1,000,000,000,000 transitions need"):
        Replay(10**12, 1, (4, 84, 84), np.dtype(np.uint8), stack=4)


def test_free_memory_equals_the_systems() -> None:
    free = free_bytes(torch.device("cpu"))
    assert free is not None
    assert 10**7 < free < 10**14


def test_n_step_longer_than_the_replay_is_an_error() -> None:
    with pytest.raises(UserError, match="n_step: 5 is longer than the replay; expected up to 4"):
        Replay(10, 2, (4,), np.dtype(np.float32), n_step=5)


@pytest.mark.parametrize("steps", [3, 200])
def test_last_observations_are_the_newest(steps: int) -> None:
    environment = scripted(num_envs=2)
    replay, _ = play(environment, 0, n_step=1)
    shown: list[list[np.ndarray]] = [[], []]  # of each environment, including the final one of a truncated game
    generator = np.random.default_rng(0)
    for _ in range(steps):
        observations = environment.observations.copy()
        step = environment.step(generator.integers(0, environment.num_actions, 2))
        ends = step.terminated, step.truncated, step.agent_acted
        replay.add(np.zeros(2, int), step.rewards, *ends, step.observations, step.ended, step.final_observations)
        for env in range(2):
            shown[env].append(observations[env])
        for env, final in zip(step.ended, step.final_observations, strict=True):
            if step.truncated[env]:
                shown[env].append(final)
    recent = replay.recent(10)
    each = min(5, *(len(of) for of in shown))
    assert len(recent) == 2 * each
    for env in range(2):
        assert np.array_equal(recent[env::2], shown[env][-each:])
