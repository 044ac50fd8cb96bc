"""Base of every learner, not described in any paper: device, precision, random numbers, rewards, optimizer state."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hadamax.algorithms.common.contract import FinishedGame
from hadamax.clock import Clock
from hadamax.environments import Environments, Step

Network = TypeVar("Network", bound=nn.Module)


class Learner:
    """Base class of all algorithms.

    Args:
        settings: the algorithm's own settings.
        environment: the games to step.
        decay_frames: frames over which the schedules decay.
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
    ) -> None:
        self.settings = settings
        self.environment: Environments = environment
        self.decay_frames, self.reward_clipping = decay_frames, reward_clipping
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
