"""Measurements of single units: dormant, zero, saturated; and the output parts of live and dead units."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hadamax.diagnostics.checks import checked


def dormant_neurons(activations: Tensor, tau: float = 0.025) -> Tensor:
    """Find units whose mean absolute activation is at most `tau` times the layer's mean: [N, d] -> [d] bool.

    Score s_i = (mean over samples of |h_i|) / (mean of those over the layer); dormant if s_i <= tau. ReDo, Sokar et al.
    2023 (arXiv 2302.12902), equation 1. If all activations are zero, every unit is dormant. A saturated tanh never is.
    Raises:
        ValueError: not [N, d], fewer than 2 units (one unit's score is always 1), NaN, or a negative tau.
    """
    if not 0 <= tau < math.inf:
        raise ValueError(f"tau {tau} is out of range; expected 0 or more")
    sizes = checked("activations", activations, units=2).abs().double().mean(dim=0)
    return sizes <= tau * sizes.mean()


def zero_neurons(activations: Tensor) -> Tensor:
    """Find units that are exactly zero on every sample, dead in the sense of ReLU: [N, d] -> [d] bool.

    Raises:
        ValueError: not [N, d], no sample, or NaN.
    """
    return (checked("activations", activations) == 0).all(dim=0)


def saturation(activations: Tensor, low: float = -1.0, high: float = 1.0, margin: float = 0.01) -> Tensor:
    """Compute each unit's fraction of samples near an end of its range: [N, d] -> [d] float32.

    "Near" is within `margin` times the width of the range. tanh, range (-1, 1): beyond 0.98; sigmoid, range (0, 1):
    outside 0.01 to 0.99, the same inputs times two. This is the approximate equality of HR equation 1, whose margin the
    paper does not state.
    Raises:
        ValueError: not [N, d], no sample, NaN, a bound that is not finite, or a margin outside (0, 0.5).
    """
    _check_range(low, high, margin)
    values = checked("activations", activations)
    room = margin * (high - low)
    return ((values <= low + room) | (values >= high - room)).float().mean(dim=0)


def saturated_neurons(activations: Tensor, low: float = -1.0, high: float = 1.0, margin: float = 0.01) -> Tensor:
    """Find units that are near the same end of their range on every sample: [N, d] -> [d] bool.

    "Near" is as in `saturation`. Dead in the sense of HR equation 1; the margin is not from a paper. A unit that
    switches between both ends still distinguishes samples and is not dead.

    Raises:
        ValueError: as `saturation`.
    """
    _check_range(low, high, margin)
    values = checked("activations", activations)
    room = margin * (high - low)
    return (values <= low + room).all(dim=0) | (values >= high - room).all(dim=0)


def feature_norm(features: Tensor) -> float:
    """Compute the mean Euclidean norm of the samples of features [N, d].

    Raises:
        ValueError: not [N, d], no sample, or NaN.
    """
    values = checked("features", features).double()
    largest = values.abs().max().item() if values.numel() else 0.0
    return largest * float((values / largest).norm(dim=1).mean()) if largest else 0.0  # no square leaves the range


def _check_range(low: float, high: float, margin: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"range ({low}, {high}) is not bounded; expected finite low < high")
    if not 0 < margin < 0.5:
        raise ValueError(f"margin {margin} is out of range; expected more than 0 and less than 0.5")


def output_shares(features: Tensor, weight: Tensor, dead: Tensor) -> tuple[float, float]:
    """Split the output, averaged over samples and outputs, into the parts of live and dead units: (live, dead).

    HR Fig. 4. The dot product W h of the last layer is split between live and dead units; the layer's bias is in
    neither part. If the outputs are Q-values, the dead part is the hidden bias of HR section 4.

    Args:
        features: [N, d] of the last hidden layer.
        weight: [outputs, d] of the layer that reads it.
        dead: [d] bool.
    Raises:
        TypeError: `dead` is not bool.
        ValueError: the shapes do not match, or a value is NaN.
    """
    if dead.dtype != torch.bool:
        raise TypeError(f"dead must be bool, got {dead.dtype}")
    means = checked("features", features).double().mean(dim=0)
    weight = checked("weight", weight).double()
    if weight.shape[1] != len(means) or dead.shape != means.shape:
        raise ValueError(
            f"features {[*features.shape]}, weight {[*weight.shape]} and dead {[*dead.shape]} must have the same width"
        )
    parts = weight.mean(dim=0) * means
    return float(parts[~dead].sum()), float(parts[dead].sum())
