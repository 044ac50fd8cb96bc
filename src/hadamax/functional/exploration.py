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


def vote(q_values: Tensor) -> Tensor:
    """Scores whose highest is the action that most members of an ensemble find best: [B, member, A] -> [B, A].

    The whole part is the number of votes. Of actions with equally many, the one with the higher mean Q-value has the
    larger fraction (half of the softmax of the means). Source: Osband et al. 2016, arXiv 1602.04621, section 6.1.

    Raises:
        ValueError: `q_values` is not [B, member, A].
    """
    if q_values.ndim != 3:
        raise ValueError(f"q_values [B, member, A] expected, got {[*q_values.shape]}")
    votes = torch.zeros_like(q_values).scatter_(2, q_values.argmax(dim=2, keepdim=True), 1.0).sum(dim=1)
    return votes + 0.5 * q_values.mean(dim=1).softmax(dim=1)
