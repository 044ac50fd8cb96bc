"""One-step and n-step targets of Q-learning, without and with the double estimator."""

from __future__ import annotations

import torch
from torch import Tensor


def n_step_returns(
    rewards: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The discounted sum of up to n rewards, cut at the first end among them, and what its bootstrap is worth.

    Source: Sutton 1988; n-step Q-learning as in Rainbow (Hessel et al. 2018, arXiv 1710.02298, section 3).

    Args:
        rewards: [B, n] of n steps in a row.
        terminated, truncated: [B, n] bool; what stands after the first end of a row is not looked at.
        gamma: discount a step, 0 to 1.

    Returns:
        Returns [B]; discounts [B] of the value that follows, gamma^steps, or 0 where the episode terminated; steps [B]
        int64 that were taken, 1 to n: the value that follows is that of the state so many steps on.

    Raises:
        ValueError: the shapes differ or are not [B, n] with a step, or gamma is outside [0, 1].
    """
    shapes = [tuple(x.shape) for x in (rewards, terminated, truncated)]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2 or shapes[0][1] == 0:
        raise ValueError(f"n_step_returns takes three tensors of one shape [B, n], got {shapes}")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma lies between 0 and 1, got {gamma}")
    goes_on = (~(terminated | truncated)).to(rewards.dtype)
    # Whether step k is part of the return: no end before it.
    counted = torch.cat([torch.ones_like(goes_on[:, :1]), goes_on[:, :-1].cumprod(dim=1)], dim=1)
    powers = gamma ** torch.arange(rewards.shape[1] + 1, dtype=rewards.dtype, device=rewards.device)
    steps = counted.sum(dim=1).to(torch.int64)
    dies = (terminated.to(rewards.dtype) * counted).sum(dim=1)  # 1 where an end that was reached is one for good
    # Not counted * rewards: what stands after an end may be anything, NaN included.
    returns = (powers[:-1] * torch.where(counted.bool(), rewards, torch.zeros_like(rewards))).sum(dim=1)
    return returns, powers[steps] * (1 - dies), steps


def greedy_values(values: Tensor, chooser: Tensor | None = None) -> Tensor:
    """The value of the best action: [B, A] -> [B].

    With `chooser` [B, A] the action is the best one by those values instead: the double estimator, whose error in
    choosing is not the one in valuing (van Hasselt et al. 2016, arXiv 1509.06461).
    """
    best = (values if chooser is None else chooser).argmax(dim=1, keepdim=True)
    return values.gather(1, best).squeeze(1)
