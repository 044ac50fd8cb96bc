"""A replay that keeps every observation in lists: the reference for the real one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hadamax.environments import Step, VectorEnvironment
from hadamax.replay.buffer import Replay


class Transition(NamedTuple):
    """Expected content of a batch for one row."""

    observation: np.ndarray
    action: int
    reward: float
    discount: float
    next_observation: np.ndarray | None  # None at an end


class Row(NamedTuple):
    """A step of one environment."""

    observation: np.ndarray
    action: int
    reward: float
    terminated: bool
    truncated: bool
    agent_acted: bool
    next_observation: np.ndarray  # the last one of the game where it ended


class Oracle:
    """Every row of every environment, in order."""

    def __init__(self, num_envs: int, n_step: int, gamma: float) -> None:
        self.n_step, self.gamma = n_step, gamma
        self.rows: list[list[Row]] = [[] for _ in range(num_envs)]
        self.places: list[list[int]] = [[] for _ in range(num_envs)]  # of each row in the replay: cut games take two
        self._next = [0] * num_envs

    def add(self, observations: np.ndarray, actions: np.ndarray, step: Step) -> None:
        finals = dict(zip(step.ended.tolist(), step.final_observations, strict=True))
        for env, rows in enumerate(self.rows):
            following = finals.get(env, step.observations[env]).copy()
            ends = bool(step.terminated[env]), bool(step.truncated[env]), bool(step.agent_acted[env])
            rows.append(Row(observations[env].copy(), int(actions[env]), float(step.rewards[env]), *ends, following))
            self.places[env].append(self._next[env])
            self._next[env] += 1 + int(step.truncated[env])

    def transitions(self, replay: Replay) -> dict[int, Transition]:
        """Return the expected content by slot."""
        found = {}
        for env, rows in enumerate(self.rows):
            for number, row in enumerate(rows):
                place = self.places[env][number]
                transition = self.transition(rows[number : number + self.n_step])
                if row.agent_acted and transition is not None and place > self._next[env] - replay.capacity:
                    found[env * replay.length + place % replay.length] = transition
        return found

    def transition(self, rows: list[Row]) -> Transition | None:
        """Return the transition that starts at the first row, or None while incomplete."""
        reward, discount = 0.0, 1.0
        for taken, row in enumerate(rows, start=1):
            reward += discount * row.reward
            discount *= self.gamma
            if row.terminated:
                return Transition(rows[0].observation, rows[0].action, reward, 0.0, None)
            if row.truncated or taken == self.n_step:
                return Transition(rows[0].observation, rows[0].action, reward, discount, row.next_observation)
        return None


def play(environment: VectorEnvironment, steps: int, *, n_step: int, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """Feed a replay and the oracle the same random games."""
    replay = Replay(
        options.pop("size", 60),
        environment.num_envs,
        environment.observation_shape,
        environment.observation_dtype,
        stack=environment.stack,
        repeat_first_frame=environment.repeat_first_frame,
        n_step=n_step,
        gamma=0.9,
        **options,
    )
    oracle = Oracle(environment.num_envs, n_step, 0.9)
    replay.begin(environment.reset())
    go_on(environment, replay, oracle, steps, seed)
    return replay, oracle


def go_on(environment: VectorEnvironment, replay: Replay, oracle: Oracle | None, steps: int, seed: int = 0) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(steps):
        observations = environment.observations.copy()
        actions = generator.integers(0, environment.num_actions, environment.num_envs)
        step = environment.step(actions)
        ends = step.terminated, step.truncated, step.agent_acted
        replay.add(actions, step.rewards, *ends, step.observations, step.ended, step.final_observations)
        if oracle is not None:
            oracle.add(observations, actions, step)
