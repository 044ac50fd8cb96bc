"""HL-Gauss: a value represented as a histogram and learned by cross-entropy.

A target becomes a normal distribution centred on it, integrated over each bin. The bin centres are evenly spaced from
the lowest to the highest value, so the outermost bins extend half a bin width beyond them.
Sources: Imani and White 2018, arXiv 1806.04613; for deep RL Farebrother et al. 2024, arXiv 2403.03950.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
