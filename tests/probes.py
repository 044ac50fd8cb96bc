"""Probe environments with known values, each isolating one failure, and an engine that plays a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from hadamax.algorithms import ALGORITHMS
from hadamax.clock import Clock
from hadamax.environments import EngineStep, VectorEnvironment
from hadamax.environments.gymnasium import GymnasiumEngine
from hadamax.networks import build_encoder

# -- an engine that plays a script ---------------------------------------------------------------------------


class Event(NamedTuple):
    """Result of one step of one environment. `lives`: after the step."""

    reward: float = 0.0
    lives: int = 3
    terminated: bool = False
    truncated: bool = False


Rule = Callable[[int, int, int], Event]  # (environment, steps since its last seeding, hidden state) -> what happens


def script(*environments: Sequence[Event]) -> Rule:
    """Return a rule: each environment plays its events, then empty steps forever."""
    return lambda env, step, state: environments[env][step] if step < len(environments[env]) else Event()


def random_events(env: int, step: int, state: int) -> Event:
    """Draw an event from the hidden state: games of about ten steps with rewards, lost lives, ends and time limits."""
    draw = np.random.default_rng(state)
    fate = draw.choice(["on", "life", "over", "limit"], p=[0.75, 0.15, 0.06, 0.04])
    lives = {"on": 3, "life": 2, "over": 0, "limit": 3}[str(fate)]
    return Event(float(draw.integers(-3, 4)), lives, terminated=fate == "over", truncated=fate == "limit")


class ScriptedEngine:
    """Plays a `Rule`. Its hidden state follows from the seed and all actions since; a frame shows it.

    With `stack` above 1 the stack starts as zeros at each game, as ale-py's does. `executed` lists actions as
    they arrived, `resets` (environment, seed) pairs, `newest` frames as they came, `lasts` each game's last.
    """

    frames_per_step = 4
    input_scale = 255.0
    observation_dtype = np.dtype(np.uint8)

    def __init__(
        self,
        rule: Rule,
        num_envs: int = 1,
        *,
        stack: int = 1,
        action_names: tuple[str, ...] = ("NOOP", "FIRE", "LEFT"),
        reseed_steps: int = 10**9,
    ) -> None:
        self.rule, self.num_envs, self.stack = rule, num_envs, stack
        self.action_names, self.reseed_steps = action_names, reseed_steps
        self.observation_shape = (stack, 4) if stack > 1 else (4,)
        self.executed: list[np.ndarray] = []
        self.resets: list[tuple[int, int]] = []
        self.newest: list[np.ndarray] = []
        self.lasts: list[tuple[int, np.ndarray]] = []
        self._states, self._steps = [0] * num_envs, [0] * num_envs
        self._stacks = np.zeros((num_envs, stack, 4), np.uint8)

    def reset(self, mask: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for env, seed in zip(np.flatnonzero(mask), seeds, strict=True):
            self.resets.append((int(env), int(seed)))
            self._states[env], self._steps[env] = int(seed), 0
            self._begin_game(env)
        return self._observations(), np.full(self.num_envs, 3)

    def step(self, actions: np.ndarray) -> EngineStep:
        self.executed.append(np.array(actions))
        events = []
        for env, action in enumerate(actions):
            events.append(self.rule(env, self._steps[env], self._states[env]))
            self._states[env] = hash((self._states[env], int(action))) % 2**62
            self._steps[env] += 1
            self._push(env)
        final = self._observations()
        for env, event in enumerate(events):
            if event.terminated or event.truncated:
                self.lasts.append((env, self._frame(env)))
                self._states[env] = hash((self._states[env], -1)) % 2**62
                self._begin_game(env)
                events[env] = event._replace(lives=3)
        self.newest.append(np.array([self._frame(env) for env in range(self.num_envs)]))
        rewards, lives, terminated, truncated = (np.array(column) for column in zip(*events, strict=True))
        return EngineStep(self._observations(), rewards, terminated, truncated, lives, final)

    def _frame(self, env: int) -> np.ndarray:
        return np.random.default_rng(self._states[env]).integers(1, 256, 4).astype(np.uint8)

    def _begin_game(self, env: int) -> None:
        self._stacks[env] = 0
        self._push(env)

    def _push(self, env: int) -> None:
        self._stacks[env, :-1] = self._stacks[env, 1:]
        self._stacks[env, -1] = self._frame(env)

    def _observations(self) -> np.ndarray:
        return self._stacks.reshape(self.num_envs, *self.observation_shape).copy()


# -- environments whose Q-values are known -------------------------------------------------------------------


class Probe(gymnasium.Env):
    """A finite environment with states 0 .. n-1 observed one-hot. Subclasses define `starts` and `move`."""

    states = 1
    starts: tuple[int, ...] = (0,)
    limit: int | None = None  # steps after which a game is truncated

    def __init__(self, num_actions: int = 2) -> None:
        self.observation_space = Box(0.0, 1.0, (self.states,), np.float32)
        self.action_space = Discrete(num_actions)
        self.state = self.elapsed = 0

    def move(self, state: int, action: int) -> tuple[int, float, bool]:
        """(next state, reward, terminated)"""
        raise NotImplementedError

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = int(self.np_random.choice(self.starts))
        self.elapsed = 0
        return self._show(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.state, reward, terminated = self.move(self.state, int(action))
        self.elapsed += 1
        return self._show(), reward, terminated, self.elapsed == self.limit, {}

    def _show(self) -> np.ndarray:
        return np.eye(self.states, dtype=np.float32)[self.state]


class ConstantReward(Probe):
    """One step with reward 1: tests the head and the loss. Q = 1."""

    def move(self, state: int, action: int) -> tuple[int, float, bool]:
        return 0, 1.0, True


class ObservedReward(Probe):
    """One step with a reward given by the observation: tests the encoder. Q(0) = -1, Q(1) = 2."""

    states, starts = 2, (0, 1)

    def move(self, state: int, action: int) -> tuple[int, float, bool]:
        return state, (-1.0, 2.0)[state], True


class DelayedReward(Probe):
    """Two steps with reward 1 at the end: tests discount and bootstrap. Q(0) = gamma, Q(1) = 1."""

    states = 2

    def move(self, state: int, action: int) -> tuple[int, float, bool]:
        return 1, float(state), state == 1


class TwoChoices(Probe):
    """The first action leads to state 1 or 2, where actions differ again: tests gather and maximum.

    Q(1) = (1, 0), Q(2) = (-1, 2), Q(0) = (gamma, 2 gamma).
    """

    states = 3

    def move(self, state: int, action: int) -> tuple[int, float, bool]:
        if state == 0:
            return 1 + action, 0.0, False
        return state, ((1.0, 0.0), (-1.0, 2.0))[state - 1][action], True


class Wheel(Probe):
    """An endless cycle of three states with rewards 0, 0 and 3, truncated after two steps.

    Games start anywhere, so a bootstrap from the next game's observation, or none, gives other values than
    Q(2) = 3 / (1 - gamma^3), Q(1) = gamma Q(2), Q(0) = gamma Q(1).
    """

    states, starts, limit = 3, (0, 1, 2), 2

    def move(self, state: int, action: int) -> tuple[int, float, bool]:
        return (state + 1) % 3, 3.0 * (state == 2), False


class Countdown(Probe):
    """Reward 1 for four steps, then termination. Q(s) = (1 - gamma^(4 - s)) / (1 - gamma)."""

    states = 5

    def move(self, state: int, action: int) -> tuple[int, float, bool]:
        return state + 1, 1.0, state == 3


# -- a learner -----------------------------------------------------------------------------------------------


def probe_environment(probe: Callable[[], gymnasium.Env], num_envs: int, seed: int = 0) -> VectorEnvironment:
    return VectorEnvironment(GymnasiumEngine(probe, num_envs), seed=seed)


def make_learner(
    environment: VectorEnvironment,
    *,
    algorithm: str = "pqn",
    encoder: str = "mlp",
    encoder_options: Mapping[str, Any] | None = None,
    decay_iterations: int = 100,
    reward_clipping: bool = False,
    precision: torch.dtype = torch.float32,
    seed: int = 0,
    device: str = "cpu",
    **settings: Any,
) -> Any:
    """Build a learner and start its games; the last `num_test_envs` environments are test environments."""
    tests = settings.setdefault("num_test_envs", 0)
    entry = ALGORITHMS[algorithm]
    chosen = entry.settings(num_envs=environment.num_envs - tests, **settings)
    torch.manual_seed(seed)
    shape, scale = environment.observation_shape, environment.input_scale
    learner = entry.build(
        chosen,
        environment,
        build_encoder(encoder, observation_shape=shape, input_scale=scale, **(encoder_options or {})),
        decay_frames=decay_iterations * chosen.num_steps * chosen.num_envs * environment.frames_per_step,
        reward_clipping=reward_clipping,
        device=torch.device(device),
        precision=precision,
        seed=seed,
        clock=Clock(),
    )
    learner.reset()
    return learner
