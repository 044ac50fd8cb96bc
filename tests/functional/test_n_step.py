"""n-step returns by hand and against a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hadamax.functional import n_step_returns


def test_three_step_returns_by_hand() -> None:
    rewards = np.array([[1.0, 2.0, 4.0]] * 6)
    terminated = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1]]).astype(bool)
    truncated = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]]).astype(bool)
    returns, discounts, steps = n_step_returns(rewards, terminated, truncated, gamma=0.5)
    assert returns.tolist() == [3.0, 2.0, 3.0, 1.0, 2.0, 1.0]
    assert discounts.tolist() == [0.125, 0.0, 0.0, 0.0, 0.25, 0.5]
    assert steps.tolist() == [3, 2, 3, 1, 2, 1]


def test_n_step_returns_equal_a_loop() -> None:
    generator = np.random.default_rng(0)
    rewards = generator.normal(size=(500, 5))
    terminated, truncated = generator.random((2, 500, 5)) < 0.15
    found = n_step_returns(rewards, terminated, truncated, gamma=0.9)
    for row in range(500):
        total, discount, taken = 0.0, 1.0, 0
        for k in range(5):
            total += discount * rewards[row, k]
            discount *= 0.9
            taken += 1
            if terminated[row, k]:
                discount = 0.0
            if terminated[row, k] or truncated[row, k]:
                break
        assert [float(x[row]) for x in found] == pytest.approx([total, discount, taken], abs=1e-12)


def test_n_step_returns_do_not_cross_an_end() -> None:
    rewards = np.array([[1.0, math.nan, math.inf]])
    ends = np.array([[True, False, False]])
    returns, discounts, _ = n_step_returns(rewards, ends, ~ends, gamma=0.9)
    assert (returns.item(), discounts.item()) == (1.0, 0.0)


def test_wrong_shapes_are_errors() -> None:
    no, rewards = np.zeros((2, 3), bool), np.zeros((2, 3))
    with pytest.raises(ValueError, match="one shape"):
        n_step_returns(rewards, no[:1], no, gamma=0.9)
    with pytest.raises(ValueError, match="one shape"):
        n_step_returns(rewards[:, :0], no[:, :0], no[:, :0], gamma=0.9)
    with pytest.raises(ValueError, match="gamma"):
        n_step_returns(rewards, no, no, gamma=1.1)
