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
