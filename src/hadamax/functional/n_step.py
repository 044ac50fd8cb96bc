"""n-step returns of rows sampled from a replay buffer."""

from __future__ import annotations

from typing import Any

import numpy as np

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
