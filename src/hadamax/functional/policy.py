"""Per-sample losses of proximal policy optimisation; the caller averages or masks the rows.

Source: Schulman et al. 2017, arXiv 1707.06347 (PPO).
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_policy_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Compute PPO's clipped policy loss: three [N] -> [N].

    -min(r A, clip(r, 1 - c, 1 + c) A), where r is the ratio of the new action probability to the old one.
    Source: PPO, equation 7.

    Raises:
        ValueError: the shapes differ, or `clip` is not above 0.
    """
    _check("clipped_policy_loss", clip, log_probs, old_log_probs, advantages)
    ratios = (log_probs - old_log_probs).exp()
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Compute PPO's clipped value loss: three [N] -> [N].

    0.5 max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2): a value that moved towards its return by more than c
    since the rollout gets no gradient. Source: the PPO authors' code and CleanRL.

    Raises:
        ValueError: the shapes differ, or `clip` is not above 0.
    """
    _check("clipped_value_loss", clip, values, old_values, returns)
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (clipped - returns).square())


def entropy(logits: Tensor) -> Tensor:
    """Compute the entropy -sum p log p of categorical logits, in nats: [..., A] -> [...]."""
    log_probs = logits.log_softmax(dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def sample_actions(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Sample one action per row from categorical logits: [B, A] -> [B] int64.

    Raises:
        ValueError: `logits` is not [B, A].
    """
    if logits.ndim != 2:
        raise ValueError(f"logits [B, A] expected, got {[*logits.shape]}")
    if len(logits) == 0:
        return torch.zeros(0, dtype=torch.int64, device=logits.device)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator).squeeze(1)


def _check(name: str, clip: float, *tensors: Tensor) -> None:
    shapes = [[*x.shape] for x in tensors]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"{name} expects three tensors of one shape, got {shapes}")
    if not clip > 0:
        raise ValueError(f"clip must be above 0, got {clip}")
