"""Which action to take, given Q-values."""

from __future__ import annotations

import torch
from torch import Tensor


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
    batch, num_actions = q_values.shape
    explore = torch.rand(batch, generator=generator, device=q_values.device) < epsilon
    anything = torch.randint(num_actions, (batch,), generator=generator, device=q_values.device)
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
