"""n-step returns of rows drawn from a replay."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def n_step_returns(rewards: Array, terminated: Array, truncated: Array, *, gamma: float) -> tuple[Array, Array, Array]:
    """The discounted sum of up to n rewards, cut at the first end among them, and what its bootstrap is worth.

    Of arrays, not tensors: a replay keeps these columns in numpy, whose calls cost a fraction of torch's on so few
    numbers. Source: multi-step targets of Rainbow (Hessel et al. 2018, arXiv 1710.02298, section 3; Sutton 1988).

    Args:
        rewards: [B, n] float, of n steps in a row.
        terminated, truncated: [B, n] bool; what stands after the first end of a row is not looked at.
        gamma: discount a step, 0 to 1.

    Returns:
        Returns [B]; discounts [B] of the value that follows, gamma^steps, or 0 where the episode terminated; steps [B]
        int64 that were taken, 1 to n: the value that follows is that of the state so many steps on. In the dtype of
        `rewards`.

    Raises:
        ValueError: the shapes differ or are not [B, n] with a step, or gamma is outside [0, 1].
    """
    if rewards.ndim != 2 or not rewards.shape[1] or not rewards.shape == terminated.shape == truncated.shape:
        shapes = [x.shape for x in (rewards, terminated, truncated)]
        raise ValueError(f"n_step_returns takes three arrays of one shape [B, n], got {shapes}")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma lies between 0 and 1, got {gamma}")
    discount = rewards.dtype.type(gamma)
    returns, discounts = rewards[:, -1], discount * ~terminated[:, -1]
    steps = np.ones(len(rewards), np.int64)
    for k in range(rewards.shape[1] - 2, -1, -1):  # from the last step back: each end cuts off what stands after it
        ends = terminated[:, k] | truncated[:, k]
        returns = rewards[:, k] + discount * np.where(ends, 0, returns)
        discounts = discount * np.where(ends, ~terminated[:, k], discounts)
        steps = np.where(ends, 1, steps + 1)
    return returns, discounts, steps
