"""Noisy layers: exploration by noise on the weights, whose scale is learned.

Source: Fortunato et al. 2018, arXiv 1706.10295, section 3, factorised Gaussian noise.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hadamax.networks.hadamard import HadamardLinear, combine_branches
from hadamax.networks.names import above_zero


class NoisyHadamardLinear(HadamardLinear):
    """A `HadamardLinear` with weights w + sigma * noise; each branch has its own noise.

    The noise of a weight is f(e_out) f(e_in), f(x) = sign(x) sqrt(|x|), so that a layer draws in + out numbers; sigma
    starts at `noise` / sqrt(in_features). With one branch and the activation "identity" it is the paper's noisy linear
    layer. In `eval` mode, and until the first `resample`, there is no noise.
    """

    noise_in: Tensor
    noise_out: Tensor

    def __init__(self, in_features: int, out_features: int, *, noise: float = 0.5, **settings: Any) -> None:
        super().__init__(in_features, out_features, **settings)
        start = above_zero("noise", noise) / math.sqrt(self.in_features)
        self.weight_sigma = nn.Parameter(torch.full_like(self.weight, start))
        self.bias_sigma = None if self.bias is None else nn.Parameter(torch.full_like(self.bias, start))
        # Redrawn before each use, so it is not part of a checkpoint.
        self.register_buffer("noise_in", torch.zeros(self.in_features), persistent=False)
        self.register_buffer("noise_out", torch.zeros(len(self.weight)), persistent=False)

    def resample(self, generator: torch.Generator | None = None) -> None:
        """Draw new noise."""
        resample_noise(self, generator)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        merged = F.linear(x, self.weight, self.bias)  # [..., branches * out]
        # (sigma * out in^T) x = out * (sigma (in * x)): no noisy copy of the weights is ever made.
        merged = merged + self.noise_out * F.linear(x * self.noise_in, self.weight_sigma, self.bias_sigma)
        return combine_branches(merged, self.norm, self.activations, self._combine)


def resample_noise(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw new noise for all noisy layers of a network at once, in the order of its modules."""
    layers = [module for module in network.modules() if isinstance(module, NoisyHadamardLinear)]
    noises = [noise for layer in layers for noise in (layer.noise_in, layer.noise_out)]
    if not noises:
        return
    drawn = torch.randn(sum(map(len, noises)), generator=generator, device=noises[0].device)
    drawn = drawn.sign() * drawn.abs().sqrt()
    torch._foreach_copy_(noises, torch.split(drawn, [len(noise) for noise in noises]))
