"""What an algorithm offers the run loop: do one iteration and return metrics, act, save, load."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from hadamax.clock import Clock
from hadamax.environments import Environments, Game, VectorEnvironment


class Activity:
    """The names under which an algorithm books its time."""

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
    """What one iteration reports."""

    metrics: dict[str, float]
    games: list[FinishedGame]


class Algorithm(Protocol):
    """Everything `training/` knows of an algorithm."""

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
        """[N, *observation_shape] that were acted on last, some thousands where there are as many; not to be changed.

        After an iteration it depends on nothing but what `state_dict` holds and that iteration.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionaries of tensors, arrays and whole numbers: all that the next iteration depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
