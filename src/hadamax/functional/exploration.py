"""Which action to take, given Q-values."""

from __future__ import annotations

import torch
from torch import Tensor


def random_actions(
    epsilon: Tensor, num_actions: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Whether to act at random, and the action then: [B] probabilities -> [B] bool, [B] int64, each equally likely."""
    explore = torch.rand(len(epsilon), generator=generator, device=epsilon.device) < epsilon
    anything = torch.randint(num_actions, (len(epsilon),), generator=generator, device=epsilon.device)
    return explore, anything


def epsilon_greedy(q_values: Tensor, epsilon: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The best action, or with probability epsilon any action, each equally likely.

    Args:
        q_values: [B, A] float.
        epsilon: [B] probabilities.

    Returns:
        [B] int64.

    Raises:
        ValueError: the shapes do not fit.
    """
    if q_values.ndim != 2 or epsilon.shape != q_values.shape[:1]:
        raise ValueError(f"q_values [B, A] and epsilon [B] expected, got {[*q_values.shape]} and {[*epsilon.shape]}")
    explore, anything = random_actions(epsilon.to(q_values.device), q_values.shape[1], generator)
    return torch.where(explore, anything, q_values.argmax(dim=1))
