"""Exploration: epsilon-greedy actions, votes of an ensemble, and the schedule of epsilon."""

from __future__ import annotations

import torch
from torch import Tensor


def random_actions(
    epsilon: Tensor, num_actions: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw which rows act at random, and a uniform action for each: [B] probabilities -> [B] bool, [B] int64."""
    explore = torch.rand(len(epsilon), generator=generator, device=epsilon.device) < epsilon
    anything = torch.randint(num_actions, (len(epsilon),), generator=generator, device=epsilon.device)
    return explore, anything


def epsilon_greedy(q_values: Tensor, epsilon: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Choose the greedy action, or with probability epsilon a uniformly random one.

    Args:
        q_values: [B, A] float.
        epsilon: [B] probabilities.

    Returns:
        [B] int64.

    Raises:
        ValueError: the shapes do not match.
    """
    if q_values.ndim != 2 or epsilon.shape != q_values.shape[:1]:
        raise ValueError(f"q_values [B, A] and epsilon [B] expected, got {[*q_values.shape]} and {[*epsilon.shape]}")
    explore, anything = random_actions(epsilon.to(q_values.device), q_values.shape[1], generator)
    return torch.where(explore, anything, q_values.argmax(dim=1))


def vote(q_values: Tensor) -> Tensor:
    """Score actions by the majority vote of an ensemble: [B, member, A] -> [B, A].

    The integer part is the number of members whose greedy action it is. The fractional part, half of the softmax of
    the mean Q-values, breaks ties. Source: Osband et al. 2016, arXiv 1602.04621, section 6.1.

    Raises:
        ValueError: `q_values` is not [B, member, A].
    """
    if q_values.ndim != 3:
        raise ValueError(f"q_values [B, member, A] expected, got {[*q_values.shape]}")
    votes = torch.zeros_like(q_values).scatter_(2, q_values.argmax(dim=2, keepdim=True), 1.0).sum(dim=1)
    return votes + 0.5 * q_values.mean(dim=1).softmax(dim=1)


def linear(start: float, end: float, progress: float) -> float:
    """Interpolate from `start` at progress 0 to `end` at progress 1; return `end` beyond 1."""
    return end + (start - end) * max(0.0, 1.0 - progress)
