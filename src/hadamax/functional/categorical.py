"""Distributions of returns over fixed atoms: projection onto the support, and the loss.

Source: Bellemare, Dabney and Munos 2017, arXiv 1707.06887, section 4 and algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def categorical_projection(probabilities: Tensor, rewards: Tensor, discounts: Tensor, support: Tensor) -> Tensor:
    """The distribution of `reward + discount * Z`, with Z on the atoms of `support`, brought back onto them.

    Each shifted atom is clipped to the support's ends and its probability shared by its two neighbours, in
    proportion to how near it is: the weight of atom j for a value x is max(0, 1 - |x - z_j| / dz). A value that is an
    atom keeps all its probability there.

    Args:
        probabilities: [B, N], of Z in the next state.
        rewards: [B], the n-step return for n-step targets.
        discounts: [B], gamma^n; 0 where nothing follows.
        support: [N] atoms, ascending, evenly spaced, two or more.

    Returns:
        [B, N] probabilities; each row sums to what the row given sums to.

    Raises:
        ValueError: the shapes do not fit.
    """
    if probabilities.ndim != 2 or support.ndim != 1 or len(support) < 2 or probabilities.shape[1] != len(support):
        shapes = [*probabilities.shape], [*support.shape]
        raise ValueError(f"probabilities [B, N] and support [N] of two atoms or more expected, got {shapes}")
    if rewards.shape != probabilities.shape[:1] or discounts.shape != rewards.shape:
        raise ValueError(f"rewards and discounts [B] expected, got {[*rewards.shape]} and {[*discounts.shape]}")
    low, high = support[0], support[-1]
    spacing = (high - low) / (len(support) - 1)
    shifted = (rewards[:, None] + discounts[:, None] * support).clamp(low, high)  # [B, N]
    weights = shifted[:, :, None] - support  # [B, from, to]; in place from here on: large for its few numbers
    weights.abs_().div_(-spacing).add_(1).clamp_(min=0)
    return torch.bmm(probabilities[:, None], weights).squeeze(1)


def categorical_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of predicted distributions with target ones: [B, N], [B, N] -> [B], in nats."""
    if logits.shape != targets.shape:
        raise ValueError(f"logits and targets of one shape [B, N] expected, got {logits.shape} and {targets.shape}")
    losses: Tensor = -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)
    return losses


def entropy_of(probabilities: Tensor) -> Tensor:
    """Entropy of distributions in nats: [B, N] -> [B]; an atom of probability 0 adds nothing."""
    entropies: Tensor = -torch.special.xlogy(probabilities, probabilities).sum(dim=-1)
    return entropies
