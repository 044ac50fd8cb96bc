"""The interface between an algorithm and the run loop: iterate and return metrics, act, save, load."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from hadamax.clock import Clock
from hadamax.environments import Environments, Game, VectorEnvironment


class Activity:
    """Names of the activities whose time is counted."""

    ENVIRONMENT = "environment"
    INFERENCE = "inference"
    LEARNING = "learning"


class FinishedGame(NamedTuple):
    """A whole game that ended while training."""

    frame: int  # training frames when it ended
    source: str  # "training" (exploring, learned from) or "test" (greedy, beside the training)
    env: int
    raw_return: float
    length: int  # emulator frames

    @staticmethod
    def of(game: Game, frame: int, environment: VectorEnvironment, *, test: bool) -> FinishedGame:
        length = game.steps * environment.frames_per_step
        return FinishedGame(frame, "test" if test else "training", game.env, game.raw_return, length)


class Iteration(NamedTuple):
    """Metrics of one iteration, and the games that ended in it."""

    metrics: dict[str, float]
    games: list[FinishedGame]


class Algorithm(Protocol):
    """Everything that the run loop uses of an algorithm."""

    network: nn.Module
    environment: Environments
    clock: Clock
    frames_per_iteration: int

    @property
    def frames(self) -> int:
        """Emulator frames trained on so far, frame skip included."""
        ...

    def reset(self) -> None:
        """Start the games."""
        ...

    def iteration(self) -> Iteration: ...

    def q_values(self, observations: Tensor) -> Tensor:
        """[B, action] scores, the best action the highest: Q-values, votes of an ensemble, or log-probabilities.

        The network's own output is the same. Its `score_name` says which it is, where it is not a Q-value.
        """
        ...

    def recent_observations(self) -> Tensor:
        """[N, *observation_shape] that were acted on last, up to some thousands; must not be changed.

        After an iteration it depends only on that iteration and on what `state_dict` held before it.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything the next iteration depends on: nested dictionaries of tensors, arrays and whole numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
