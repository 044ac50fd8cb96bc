"""What the training loop needs of an algorithm, and the base of every learner; neither is described in a paper."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from hadamax.clock import Clock
from hadamax.environments import Environments, Game, Step, VectorEnvironment


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
    game: str = ""  # in a sequence of games

    @staticmethod
    def of(game: Game, frame: int, environment: VectorEnvironment, *, test: bool) -> FinishedGame:
        length = game.steps * environment.frames_per_step
        return FinishedGame(
            frame, "test" if test else "training", game.env, game.raw_return, length, environment.sequence_game
        )


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


Network = TypeVar("Network", bound=nn.Module)


class Learner:
    """Base class of all algorithms.

    Args:
        settings: the algorithm's own settings.
        environment: the games to step.
        decay_frames: frames over which the schedules decay.
        restart_frames: frames after which the schedules start again, as each game of a sequence begins; None: never.
        reward_clipping: learn from rewards clipped to [-1, 1].
        device, precision: of the network; autocast is used unless `precision` is float32.
        seed: of `generator`, from which exploration and minibatches are drawn.
        clock: counts the seconds of each activity.
    """

    def __init__(
        self,
        settings: Any,
        environment: Any,
        *,
        decay_frames: int,
        reward_clipping: bool,
        device: torch.device,
        precision: torch.dtype,
        seed: int,
        clock: Clock,
        restart_frames: int | None = None,
    ) -> None:
        self.settings = settings
        self.environment: Environments = environment
        self.decay_frames, self.reward_clipping = decay_frames, reward_clipping
        self.restart_frames = restart_frames
        self.device, self.precision, self.clock = device, precision, clock
        self.generator = torch.Generator(device).manual_seed(seed)
        self.games: list[FinishedGame] = []  # that ended in the current iteration

    def place(self, network: Network) -> Network:
        """Move a network to the device, its convolutions in the memory format that is fastest."""
        placed: Network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def to_device(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def rewards(self, step: Step) -> Any:
        """Rewards [env] to learn from."""
        return step.rewards.clip(-1, 1) if self.reward_clipping else step.rewards


def save_moments(optimizer: torch.optim.Optimizer) -> dict[Any, Any]:
    """Return the optimizer's state by the index of its parameter."""
    moments: dict[Any, Any] = optimizer.state_dict()["state"]
    return moments


def load_moments(optimizer: torch.optim.Optimizer, moments: dict[Any, Any]) -> None:
    """Load the optimizer state of a checkpoint; the optimizer keeps its settings.

    Raises:
        RuntimeError: a moment has another shape than its parameter.
    """
    numbered = {int(number): tensors for number, tensors in moments.items()}
    (group,) = optimizer.param_groups
    for number, tensors in numbered.items():
        parameter = group["params"][number]
        wrong = [n for n, t in tensors.items() if n != "step" and t.shape != parameter.shape]
        if wrong:
            raise RuntimeError(f"the optimizer's {wrong[0]} does not fit parameter {number}")
        # In memory as its parameter lies (channels last): fused optimizers do not look.
        moved = {n: torch.empty_like(parameter).copy_(t) for n, t in tensors.items() if n != "step"}
        numbered[number] = {**tensors, **moved}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": numbered, "param_groups": groups})
