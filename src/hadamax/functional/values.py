"""Action values in three forms: numbers, categorical distributions (C51) and histograms (HL-Gauss).

C51's projection and loss: Bellemare, Dabney and Munos 2017, arXiv 1707.06887, section 4 and algorithm 1.
HL-Gauss turns a target into a normal distribution centred on it, integrated over each bin. The bin centres are evenly
spaced from the lowest to the highest value, so the outermost bins extend half a bin width beyond them. Sources: Imani
and White 2018, arXiv 1806.04613; for deep RL Farebrother et al. 2024, arXiv 2403.03950.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def greedy_values(values: Tensor, chooser: Tensor | None = None) -> Tensor:
    """Return the value of the greedy action: [B, A] -> [B].

    With `chooser` [B, A], the greedy action is taken by those values and evaluated by `values`: the double estimator
    (double DQN, van Hasselt et al. 2016, arXiv 1509.06461).
    """
    best = (values if chooser is None else chooser).argmax(dim=1, keepdim=True)
    return values.gather(1, best).squeeze(1)


def of_actions(values: Tensor, actions: Tensor) -> Tensor:
    """Select the entry of one action per row: [B, A] or [B, A, N], [B] int64 -> [B] or [B, N]."""
    index = actions.view(-1, *(1,) * (values.ndim - 1)).expand(-1, 1, *values.shape[2:])
    return values.gather(1, index).squeeze(1)


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


def bin_centres(low: float, high: float, bins: int) -> Tensor:
    """Return the centres of evenly spaced bins: [bins] float32, including `low` and `high`.

    Raises:
        ValueError: fewer than two bins, or `low` not below `high`, or either not finite.
    """
    if bins < 2:
        raise ValueError(f"bins must be 2 or more, got {bins}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low must be below high, both finite, got {low} and {high}")
    return torch.linspace(low, high, bins, dtype=torch.float64).float()


def hl_gauss(targets: Tensor, centres: Tensor, sigma: float = 0.75) -> Tensor:
    """Convert targets to histograms: any [...] -> [..., bins], each summing to 1.

    Targets are clipped to the range of the centres. The histogram's mean equals the target (within 1e-5 bin widths at
    sigma 0.75) if the target is more than four sigma inside that range; closer to an end it is biased inwards.

    Args:
        targets: values, float, finite.
        centres: [bins] of `bin_centres`, of the dtype and on the device of the targets.
        sigma: standard deviation in bin widths. Farebrother et al. 2024 use 0.75.

    Raises:
        ValueError: there are fewer than two centres, or `sigma` is not above 0.
    """
    if centres.ndim != 1 or len(centres) < 2:
        raise ValueError(f"centres [bins] of two bins or more expected, got {[*centres.shape]}")
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    low, high = centres[0], centres[-1]
    width = (high - low) / (len(centres) - 1)
    edges = torch.cat([centres - width / 2, high[None] + width / 2])
    deviations = (edges - targets.clamp(low, high)[..., None]) / (sigma * width)
    cumulative: Tensor = torch.special.ndtr(deviations)
    mass = cumulative.diff(dim=-1)
    return mass / (cumulative[..., -1:] - cumulative[..., :1])


def hl_gauss_value(logits: Tensor, centres: Tensor) -> Tensor:
    """Return the mean of the histograms given by logits, the inverse of `hl_gauss`: [..., bins] -> [...]."""
    return (logits.softmax(dim=-1) * centres).sum(dim=-1)
