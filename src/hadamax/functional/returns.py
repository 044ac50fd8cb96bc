"""Returns and advantages: lambda-returns (PQN), generalised advantage estimates (PPO) and n-step returns (replay)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def lambda_returns(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """Compute lambda-returns: R_t = r_t + gamma [(1 - lambda) V_{t+1} + lambda R_{t+1}].

    The return of a terminated step is its reward. A truncated step, and the last one, bootstrap from their own next
    value, so nothing of the next episode leaks in. A step that is both terminated and truncated counts as terminated.
    Source: Peng's Q(lambda) as PQN uses it (Gallici et al. 2024, arXiv 2407.04811, section 3).

    Args:
        rewards: [T, E] float; all tensors may have the same further dimensions (members of an ensemble).
        next_values: [T, E] value of the state that followed step t; at a truncation, of the final observation.
        terminated, truncated: [T, E] bool.
        gamma: discount, 0 to 1.
        lambda_: 0 (one-step) to 1 (Monte Carlo).

    Returns:
        [T, E], of the dtype of `rewards`.

    Raises:
        ValueError: the shapes differ or are not [T, E, ...] with T >= 1, or gamma or lambda_ is outside [0, 1].
    """
    shapes = [tuple(x.shape) for x in (rewards, next_values, terminated, truncated)]
    if len(set(shapes)) != 1 or len(shapes[0]) < 2:
        raise ValueError(f"lambda_returns expects four tensors of one shape [T, E], got {shapes}")
    if shapes[0][0] == 0:
        raise ValueError(f"lambda_returns expects T >= 1, got {shapes}")
    if not (0 <= gamma <= 1 and 0 <= lambda_ <= 1):
        raise ValueError(f"gamma and lambda_ must be between 0 and 1, got {gamma} and {lambda_}")
    terminated, truncated, next_values = terminated.bool(), truncated.bool(), next_values.to(rewards.dtype)
    one_step = rewards + gamma * torch.where(terminated, torch.zeros_like(next_values), next_values)
    goes_on = ~(terminated | truncated)
    returns = torch.empty_like(one_step)
    returns[-1] = one_step[-1]
    for t in range(len(rewards) - 2, -1, -1):
        # torch.where, not a multiplication by 0, so that a NaN beyond the episode's end does not leak in.
        carried = gamma * lambda_ * (returns[t + 1] - next_values[t])
        returns[t] = torch.where(goes_on[t], one_step[t] + carried, one_step[t])
    return returns


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """Compute generalised advantage estimates: A_t = d_t + gamma lambda A_{t+1}, d_t = r_t + gamma V'_t - V_t.

    V'_t is the value of the state that followed step t, and 0 where the step terminated. A_t = d_t at a terminated or
    truncated step and at the last step, so nothing of the next episode leaks in. A step that is both terminated and
    truncated counts as terminated. A_t + V_t is the lambda-return of step t.
    Source: Schulman et al. 2016, arXiv 1506.02438, equation 16.

    Args:
        rewards: [T, E] float.
        values: [T, E] value of the state in which step t was taken.
        next_values: [T, E] value of the state that followed step t; at a truncation, of the final observation.
        terminated, truncated: [T, E] bool.
        gamma: discount, 0 to 1.
        lambda_: 0 (one step) to 1 (Monte Carlo).

    Returns:
        [T, E], of the dtype of `rewards`.

    Raises:
        ValueError: the shapes differ or are not [T, E] with T >= 1, or gamma or lambda_ is outside [0, 1].
    """
    shapes = [tuple(x.shape) for x in (rewards, values, next_values, terminated, truncated)]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2 or shapes[0][0] == 0:
        raise ValueError(f"gae expects five tensors of one shape [T, E] with T >= 1, got {shapes}")
    if not (0 <= gamma <= 1 and 0 <= lambda_ <= 1):
        raise ValueError(f"gamma and lambda_ must be between 0 and 1, got {gamma} and {lambda_}")
    terminated, truncated = terminated.bool(), truncated.bool()
    values, next_values = values.to(rewards.dtype), next_values.to(rewards.dtype)
    deltas = rewards + gamma * torch.where(terminated, torch.zeros_like(next_values), next_values) - values
    goes_on = ~(terminated | truncated)
    advantages = deltas.clone()
    for t in range(len(rewards) - 2, -1, -1):
        # torch.where, not a multiplication by 0, so that a NaN beyond the episode's end does not leak in.
        advantages[t] += torch.where(goes_on[t], gamma * lambda_ * advantages[t + 1], 0.0)
    return advantages


def normalised(advantages: Tensor, weights: Tensor) -> Tensor:
    """Normalise advantages to mean 0 and standard deviation 1 over the rows of weight 1: [N], [N] of 0 and 1 -> [N].

    The standard deviation is the unbiased one, as in `Tensor.std`. Rows of weight 0 are scaled as well but do not
    enter the statistics. Source: the PPO authors' code and CleanRL, which normalise each minibatch.

    Raises:
        ValueError: the shapes differ or are not [N].
    """
    if advantages.shape != weights.shape or advantages.ndim != 1:
        shapes = [*advantages.shape], [*weights.shape]
        raise ValueError(f"normalised expects two tensors of one shape [N], got {shapes[0]} and {shapes[1]}")
    rows = weights.sum()
    centred = advantages - (weights * advantages).sum() / rows.clamp(min=1)
    variance = (weights * centred.square()).sum() / (rows - 1).clamp(min=1)
    return centred / (variance.sqrt() + 1e-8)


Array = np.ndarray[Any, Any]


def n_step_returns(rewards: Array, terminated: Array, truncated: Array, *, gamma: float) -> tuple[Array, Array, Array]:
    """Compute n-step returns that stop at the end of an episode, and the discount of the bootstrap value.

    Takes numpy arrays: a replay buffer keeps these columns in numpy, whose calls are cheaper than torch's on small
    arrays. Source: multi-step targets of Rainbow (Hessel et al. 2018, arXiv 1710.02298, section 3; Sutton 1988).

    Args:
        rewards: [B, n] float, of n consecutive steps.
        terminated, truncated: [B, n] bool; entries after the first end of a row are ignored.
        gamma: discount per step, 0 to 1.

    Returns:
        returns [B], discounts [B] and steps [B] int64, the floats in the dtype of `rewards`. `steps` (1 to n) is the
        number of rewards summed; the bootstrap value is that of the state `steps` later, and its discount is
        gamma^steps, or 0 where the episode terminated.

    Raises:
        ValueError: the shapes differ or are not [B, n] with n >= 1, or gamma is outside [0, 1].
    """
    if rewards.ndim != 2 or not rewards.shape[1] or not rewards.shape == terminated.shape == truncated.shape:
        shapes = [x.shape for x in (rewards, terminated, truncated)]
        raise ValueError(f"n_step_returns expects three arrays of one shape [B, n], got {shapes}")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be between 0 and 1, got {gamma}")
    discount = rewards.dtype.type(gamma)
    returns, discounts = rewards[:, -1], discount * ~terminated[:, -1]
    steps = np.ones(len(rewards), np.int64)
    for k in range(rewards.shape[1] - 2, -1, -1):  # backwards, so that each end discards what follows it
        ends = terminated[:, k] | truncated[:, k]
        returns = rewards[:, k] + discount * np.where(ends, 0, returns)
        discounts = discount * np.where(ends, ~terminated[:, k], discounts)
        steps = np.where(ends, 1, steps + 1)
    return returns, discounts, steps
