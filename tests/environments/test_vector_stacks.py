"""Frame stacks at the start of a game against an independent implementation."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from tests.probes import Event, ScriptedEngine, random_events

from hadamax.environments import VectorEnvironment


class Stacker:
    """The last `stack` frames of a game, padded at its start with the first frame or zeros."""

    def __init__(self, stack: int, repeat: bool) -> None:
        self.stack, self.repeat = stack, repeat

    def begin(self, frame: np.ndarray) -> np.ndarray:
        filler = frame if self.repeat else np.zeros_like(frame)
        self.frames = deque([filler] * (self.stack - 1) + [frame], maxlen=self.stack)
        return np.array(self.frames)

    def add(self, frame: np.ndarray) -> np.ndarray:
        self.frames.append(frame)
        return np.array(self.frames)


def short_games(env: int, step: int, state: int) -> Event:
    """Games shorter and longer than any stack."""
    return Event(terminated=state % 3 == 0, truncated=state % 7 == 0)


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("stack", [2, 4])
@pytest.mark.parametrize("rule", [random_events, short_games])
@pytest.mark.parametrize("reseed_steps", [10**9, 0, 15])
def test_stacks_start_with_zeros_or_repeats(rule, stack: int, repeat: bool, reseed_steps: int) -> None:
    n = 3
    engine = ScriptedEngine(rule, n, stack=stack, reseed_steps=reseed_steps)
    environment = VectorEnvironment(engine, seed=1, repeat_first_frame=repeat)
    stackers = [Stacker(stack, repeat) for _ in range(n)]
    observations = environment.reset()
    expected = [s.begin(frame) for s, frame in zip(stackers, observations[:, -1], strict=True)]
    assert np.array_equal(observations, expected)
    actions, ends = np.random.default_rng(0), 0
    for _ in range(120):
        step = environment.step(actions.integers(0, 3, n))
        lasts = dict(engine.lasts[len(engine.lasts) - step.ended.size :])
        finals = [stackers[e].add(lasts[e]) for e in step.ended]
        assert np.array_equal(step.final_observations, np.reshape(finals, (-1, stack, 4)))
        for env, frame in enumerate(step.observations[:, -1]):
            whole = stackers[env].begin(frame) if env in step.ended else stackers[env].add(frame)
            assert np.array_equal(step.observations[env], whole)
        if reseed_steps > 120:  # otherwise a new seed followed the recorded frame
            assert np.array_equal(step.observations[:, -1], engine.newest[-1])
        assert np.array_equal(step.observations, environment.observations)
        ends += step.ended.size
    assert ends > 10
    reseeds = len(engine.resets) - n
    assert 0 < reseeds < ends if reseed_steps == 15 else reseeds == (0 if reseed_steps else ends)


def test_earlier_observations_are_not_overwritten() -> None:
    """A caller that keeps the arrays of a step keeps their content."""
    environment = VectorEnvironment(ScriptedEngine(random_events, 2, stack=4, reseed_steps=10), seed=1)
    kept = [environment.reset()]
    copies = [kept[0].copy()]
    for _ in range(60):
        kept.append(environment.step(np.zeros(2, int)).observations)
        copies.append(kept[-1].copy())
    assert all(np.array_equal(a, b) for a, b in zip(kept, copies, strict=True))
