"""Units one by one: dormant, silent, saturated; and what live and dead ones add to the output."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hadamax.diagnostics.checks import checked


def dormant_neurons(activations: Tensor, tau: float = 0.025) -> Tensor:
    """Units whose mean size is at most `tau` of the layer's: [N, d] -> [d] bool.

    Score s_i = mean |h_i| over samples / mean of those over the layer, dormant where s_i <= tau. ReDo, Sokar et al.
    2023 (arXiv 2302.12902), equation 1. Of a layer that is all zero every unit is dormant. A saturated tanh never is.

    Raises:
        ValueError: not [N, d], fewer than 2 units (one unit's score is always 1), NaN, or a negative tau.
    """
    if not 0 <= tau < math.inf:
        raise ValueError(f"tau {tau} is out of range; valid: 0 or more")
    sizes = checked("activations", activations, units=2).abs().double().mean(dim=0)
    return sizes <= tau * sizes.mean()


def zero_neurons(activations: Tensor) -> Tensor:
    """Units that are exactly zero on every sample, the plain form of dead for ReLU: [N, d] -> [d] bool.

    Raises:
        ValueError: not [N, d], no sample, or NaN.
    """
    return (checked("activations", activations) == 0).all(dim=0)


def saturation(activations: Tensor, low: float = -1.0, high: float = 1.0, margin: float = 0.01) -> Tensor:
    """Each unit's share of samples within `margin` of the range from one of its ends: [N, d] -> [d] float32.

    tanh: (-1, 1), so beyond 0.98; sigmoid: (0, 1), so outside 0.01 to 0.99, the same inputs twice as large. The
    approximate equality of HR equation 1, whose margin the paper does not state.

    Raises:
        ValueError: not [N, d], no sample, NaN, an end that is not finite, or a margin out of (0, 0.5).
    """
    _check_range(low, high, margin)
    values = checked("activations", activations)
    room = margin * (high - low)
    return ((values <= low + room) | (values >= high - room)).float().mean(dim=0)


def saturated_neurons(activations: Tensor, low: float = -1.0, high: float = 1.0, margin: float = 0.01) -> Tensor:
    """Units that are within `margin` of the range from one end, the same end, on every sample: [N, d] -> [d] bool.

    The plain form of dead for a bounded activation: HR equation 1, its margin ours. A unit that switches between both
    ends tells its samples apart and is not dead.

    Raises:
        ValueError: as `saturation`.
    """
    _check_range(low, high, margin)
    values = checked("activations", activations)
    room = margin * (high - low)
    return (values <= low + room).all(dim=0) | (values >= high - room).all(dim=0)


def feature_norm(features: Tensor) -> float:
    """Mean Euclidean length of the samples of features [N, d].

    Raises:
        ValueError: not [N, d], no sample, or NaN.
    """
    values = checked("features", features).double()
    largest = values.abs().max().item() if values.numel() else 0.0
    return largest * float((values / largest).norm(dim=1).mean()) if largest else 0.0  # no square leaves the range


def _check_range(low: float, high: float, margin: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"range ({low}, {high}) is not of a bounded activation")
    if not 0 < margin < 0.5:
        raise ValueError(f"margin {margin} is out of range; valid: more than 0 and less than 0.5")


def output_shares(features: Tensor, weight: Tensor, dead: Tensor) -> tuple[float, float]:
    """What live and dead units add to the output, averaged over samples and outputs: (live, dead). HR Fig. 4.

    The last layer's dot product W h is split between the two kinds of units; the layer's bias is in neither. With
    Q-values for outputs, the dead part is the hidden bias of HR section 4.

    Args:
        features: [N, d] of the last hidden layer.
        weight: [outputs, d] of the layer on top.
        dead: [d] bool.

    Raises:
        TypeError: `dead` is not bool.
        ValueError: shapes that do not fit, or NaN.
    """
    if dead.dtype != torch.bool:
        raise TypeError(f"dead must be bool, not {dead.dtype}")
    means = checked("features", features).double().mean(dim=0)
    weight = checked("weight", weight).double()
    if weight.shape[1] != len(means) or dead.shape != means.shape:
        raise ValueError(
            f"features {[*features.shape]}, weight {[*weight.shape]} and dead {[*dead.shape]} are not of one width"
        )
    parts = weight.mean(dim=0) * means
    return float(parts[~dead].sum()), float(parts[dead].sum())
