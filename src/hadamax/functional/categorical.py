"""Categorical return distributions (C51): projection onto the support, and the loss.

Source: Bellemare, Dabney and Munos 2017, arXiv 1707.06887, section 4 and algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def categorical_projection(probabilities: Tensor, rewards: Tensor, discounts: Tensor, support: Tensor) -> Tensor:
    """Project the distribution of `reward + discount * Z` onto the atoms of `support`.

    Each shifted atom is clipped to the support's range, and its probability is split between the two nearest atoms by
    linear interpolation: atom z_j receives the weight max(0, 1 - |x - z_j| / dz) of a value x.

    Args:
        probabilities: [B, N], of Z in the next state.
        rewards: [B]; the n-step return for n-step targets.
        discounts: [B], gamma^n; 0 at a terminal step.
        support: [N] atoms, ascending, evenly spaced, N >= 2.

    Returns:
        [B, N] probabilities; each row has the same sum as the input row.

    Raises:
        ValueError: the shapes do not match.
    """
    if probabilities.ndim != 2 or support.ndim != 1 or len(support) < 2 or probabilities.shape[1] != len(support):
        shapes = [*probabilities.shape], [*support.shape]
        raise ValueError(f"probabilities [B, N] and support [N] of two atoms or more expected, got {shapes}")
    if rewards.shape != probabilities.shape[:1] or discounts.shape != rewards.shape:
        raise ValueError(f"rewards and discounts [B] expected, got {[*rewards.shape]} and {[*discounts.shape]}")
    low, high = support[0], support[-1]
    spacing = (high - low) / (len(support) - 1)
    shifted = (rewards[:, None] + discounts[:, None] * support).clamp(low, high)  # [B, N]
    weights = shifted[:, :, None] - support  # [B, from, to]; in place below, since it is the largest tensor here
    weights.abs_().div_(-spacing).add_(1).clamp_(min=0)
    return torch.bmm(probabilities[:, None], weights).squeeze(1)


def categorical_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the cross-entropy of target distributions and predicted logits: [B, N], [B, N] -> [B], in nats."""
    if logits.shape != targets.shape:
        raise ValueError(f"logits and targets of one shape [B, N] expected, got {logits.shape} and {targets.shape}")
    losses: Tensor = -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)
    return losses


def entropy_of(probabilities: Tensor) -> Tensor:
    """Compute the entropy of distributions in nats: [B, N] -> [B]; an atom of probability 0 adds 0."""
    entropies: Tensor = -torch.special.xlogy(probabilities, probabilities).sum(dim=-1)
    return entropies
