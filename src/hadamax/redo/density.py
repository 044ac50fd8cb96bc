"""The peak of each unit's kernel density estimate."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def kde_peak_density(
    activations: Tensor, noise_variance: float = 1e-5, generator: torch.Generator | None = None
) -> Tensor:
    """The highest density among a unit's own samples: [N, d] -> [d].

    Noise first, so that a constant unit has a density; bandwidth N^(-1/5) times the standard deviation, Gaussian
    kernel. Source: arXiv 2406.09079, appendix B.1.
    """
    n, units = activations.shape
    noise = torch.randn(n, units, generator=generator) * math.sqrt(noise_variance)
    x = activations + noise.to(activations.device)
    bandwidth = n ** (-1 / 5) * x.std(dim=0)
    peaks = torch.empty(units, device=activations.device)
    for unit in range(units):
        distances = (x[:, unit, None] - x[None, :, unit]) / bandwidth[unit]
        density = (-0.5 * distances.square()).exp().sum(dim=1) / (n * bandwidth[unit] * math.sqrt(2 * math.pi))
        peaks[unit] = density.max()
    return peaks
