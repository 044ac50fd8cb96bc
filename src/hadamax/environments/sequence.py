"""Several games one after another, for one agent (continual learning).

Observations are padded with empty channels to those of the game with the most, and the actions are those that any of
the games has. A game that lacks an action takes its no-op, or its first action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hadamax.environments.engine import Array, Engine, EngineStep
from hadamax.errors import UserError


class SequenceEngine:
    """An engine that plays each game for `visit_steps` steps, then moves on to the next, `visits` times in all.

    Moving on truncates every game that is running. The caller then resets all environments, because `reseed_steps` is
    0 until the next `reset`. Without `visit_steps` it stays in the first game.

    Raises:
        UserError: the games differ in more than their actions and number of channels.
    """

    def __init__(
        self,
        games: Sequence[str],
        make: Callable[[str, int], Engine],
        num_envs: int,
        *,
        visits: int = 1,
        visit_steps: int | None = None,
    ) -> None:
        """`make` builds the engine of a game with a number of environments."""
        self.games, self._make, self.num_envs = tuple(games), make, num_envs
        self.visits, self.visit_steps = visits, visit_steps
        examples = [make(game, 1) for game in self.games]
        first = examples[0]
        for game, example in zip(self.games, examples, strict=True):
            if _kind(example) != _kind(first):
                raise UserError(
                    f"env: {game} has observations {example.observation_shape} of {example.observation_dtype} and "
                    f"{self.games[0]} {first.observation_shape} of {first.observation_dtype}; expected games that "
                    "differ in their actions and number of channels only"
                )
        self.observation_shape = max(example.observation_shape for example in examples)
        self.observation_dtype, self.input_scale = first.observation_dtype, first.input_scale
        self.frames_per_step, self.stack = first.frames_per_step, first.stack
        self._actions = [example.action_names for example in examples]
        self.action_names = all_actions(self._actions)
        self.enter(0, 0)

    def enter(self, visit: int, steps: int) -> None:
        """Begin a visit, `steps` of which are already played; `reset` must follow."""
        self.visit, self.steps = visit, steps
        index = visit % len(self.games)
        self.game = self.games[index]
        self._names = self._actions[index]
        default = self._names.index("NOOP") if "NOOP" in self._names else 0
        own = [self._names.index(name) if name in self._names else default for name in self.action_names]
        self._own_action = np.array(own)
        self._engine = self._make(self.game, self.num_envs)
        self.reseed_steps = 0

    def has(self, action: str) -> bool:
        """Return True if the current game has this action."""
        return action in self._names

    def reset(self, mask: Array, seeds: Array) -> tuple[Array, Array]:
        self.reseed_steps = self._engine.reseed_steps
        observations, lives = self._engine.reset(mask, seeds)
        return self._pad(observations), lives

    def step(self, actions: Array) -> EngineStep:
        self.send(actions)
        return self.receive()

    def send(self, actions: Array) -> None:
        self._sent = self._own_action[actions]
        if hasattr(self._engine, "send"):
            self._engine.send(self._sent)

    def receive(self) -> EngineStep:
        engine = self._engine
        result: EngineStep = engine.receive() if hasattr(engine, "receive") else engine.step(self._sent)
        final = None if result.final_observations is None else self._pad(result.final_observations)
        result = result._replace(observations=self._pad(result.observations), final_observations=final)
        self.steps += 1
        if self.steps == self.visit_steps and self.visit + 1 < self.visits:
            result = _cut(result)
            self.enter(self.visit + 1, 0)
        return result

    def _pad(self, observations: Array) -> Array:
        missing = self.observation_shape[0] - observations.shape[1]
        if not missing:
            return observations
        return np.pad(observations, [(0, 0), (0, missing), *[(0, 0)] * (observations.ndim - 2)])


def _kind(engine: Engine) -> tuple[object, ...]:
    """Return what the games of a sequence must share; a vector may not be padded."""
    shape = engine.observation_shape
    return (shape[1:] if len(shape) == 3 else shape, engine.observation_dtype, engine.input_scale)


def _cut(result: EngineStep) -> EngineStep:
    """Truncate every game that is still running."""
    running = ~(result.terminated | result.truncated)
    final = result.observations.copy()
    if result.final_observations is not None:
        final[~running] = result.final_observations[~running]
    return result._replace(truncated=result.truncated | running, final_observations=final, cut=running)


def all_actions(games: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names of all actions, in an order that does not depend on the order of the games."""
    last: dict[str, int] = {}
    for names in games:
        for index, name in enumerate(names):
            last[name] = max(index, last.get(name, 0))
    return tuple(sorted(last, key=lambda name: (last[name], name)))
