"""Lambda-returns."""

from __future__ import annotations

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
