"""Lambda-returns by hand and against a recursion."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hadamax.functional import lambda_returns


def column(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def by_hand(terminated: tuple[int, ...] = (), truncated: tuple[int, ...] = (), **numbers: float) -> list[float]:
    """Returns of rewards 1, 2, 4 and next values 10, 20, 40, cut at the given steps."""
    ends = [column(*(float(t in steps) for t in range(3))).bool() for steps in (terminated, truncated)]
    numbers = {"gamma": 0.5, "lambda_": 0.5, **numbers}
    return lambda_returns(column(1, 2, 4), column(10, 20, 40), *ends, **numbers).flatten().tolist()


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        # R2 = 4 + .5*40 = 24; R1 = 2 + .5*(.5*20 + .5*24) = 13; R0 = 1 + .5*(.5*10 + .5*13) = 6.75
        ({}, [6.75, 13.0, 24.0]),
        # Step 1 is worth 2: R0 = 1 + .5*(.5*10 + .5*2) = 4
        ({"terminated": (1,)}, [4.0, 2.0, 24.0]),
        # Step 1 bootstraps, 2 + .5*20 = 12: R0 = 1 + .5*(.5*10 + .5*12) = 6.5
        ({"truncated": (1,)}, [6.5, 12.0, 24.0]),
        ({"terminated": (1,), "truncated": (1,)}, [4.0, 2.0, 24.0]),  # both at once: terminated
        (
            {"terminated": (2,)},
            [5.5, 8.0, 4.0],
        ),  # the last row ends: R1 = 2 + .5*(10 + 2), R0 = 1 + .5*(5 + 4)
        ({"truncated": (2,)}, [6.75, 13.0, 24.0]),  # cut on the last row: as if the rollout simply ended
        ({"terminated": (0, 1, 2)}, [1.0, 2.0, 4.0]),
        ({"truncated": (0, 1, 2)}, [6.0, 12.0, 24.0]),
        ({"lambda_": 0.0}, [6.0, 12.0, 24.0]),  # one step
        ({"lambda_": 1.0}, [8.0, 14.0, 24.0]),  # R1 = 2 + .5*24, R0 = 1 + .5*14
        ({"gamma": 0.0}, [1.0, 2.0, 4.0]),
        ({"gamma": 1.0, "lambda_": 1.0}, [47.0, 46.0, 44.0]),  # the sum of rewards and the last value
        ({"gamma": 1.0, "lambda_": 1.0, "terminated": (2,)}, [7.0, 6.0, 4.0]),
    ],
)
def test_lambda_returns_by_hand(ends: dict, expected: list[float]) -> None:
    assert by_hand(**ends) == expected


def recursion(
    rewards: list[float], values: list[float], over: list[bool], cut: list[bool], gamma: float, lambda_: float
) -> float:
    """The first step's return, in Python's float64, from the definition alone."""
    if over[0]:
        return rewards[0]
    if cut[0] or len(rewards) == 1:
        return rewards[0] + gamma * values[0]
    following = recursion(rewards[1:], values[1:], over[1:], cut[1:], gamma, lambda_)
    return rewards[0] + gamma * ((1 - lambda_) * values[0] + lambda_ * following)


@given(
    steps=st.integers(1, 12),
    envs=st.integers(1, 3),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    lambda_=st.sampled_from([0.0, 0.65, 1.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_lambda_returns_equal_a_recursion(steps: int, envs: int, gamma: float, lambda_: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(steps, envs, generator=generator, dtype=torch.float64) for _ in range(2))
    over, cut = (torch.rand(steps, envs, generator=generator) < 0.2 for _ in range(2))
    result = lambda_returns(rewards, values, over, cut, gamma=gamma, lambda_=lambda_)
    for env in range(envs):
        lists = [x[:, env].tolist() for x in (rewards, values, over, cut)]
        expected = [recursion(*(x[t:] for x in lists), gamma, lambda_) for t in range(steps)]
        torch.testing.assert_close(result[:, env], torch.tensor(expected, dtype=torch.float64))


def test_lambda_returns_do_not_cross_an_end() -> None:
    rewards, values = torch.randn(6, 2), torch.randn(6, 2)
    over, cut = torch.zeros(6, 2, dtype=torch.bool), torch.zeros(6, 2, dtype=torch.bool)
    over[2, 0] = cut[2, 1] = True
    before = lambda_returns(rewards, values, over, cut, gamma=0.9, lambda_=0.9)
    rewards[3:] += 100
    values[3:] -= 50
    after = lambda_returns(rewards, values, over, cut, gamma=0.9, lambda_=0.9)
    assert torch.equal(before[:3], after[:3])
    assert (before[3:] != after[3:]).all()


def test_keeps_arguments_and_reward_dtype() -> None:
    rewards, values = torch.ones(3, 1), torch.ones(3, 1, dtype=torch.float64)
    ends = torch.zeros(3, 1, dtype=torch.bool)
    result = lambda_returns(rewards, values, ends, ends, gamma=1.0, lambda_=0.0)
    assert result.dtype == torch.float32
    assert rewards.eq(1).all()
    assert values.eq(1).all()


def test_errors_name_the_shapes() -> None:
    good, bad = torch.zeros(3, 2), torch.zeros(3)
    for arguments in ([good, good, good, good[:2]], [bad] * 4):
        with pytest.raises(ValueError, match=r"four tensors of one shape \[T, E\], got .*\(3,"):
            lambda_returns(*arguments, gamma=0.9, lambda_=0.9)
    for numbers in ({"gamma": 1.1, "lambda_": 0.5}, {"gamma": 0.9, "lambda_": -0.1}):
        with pytest.raises(ValueError, match=r"between 0 and 1, got .*(1\.1|-0\.1)"):
            lambda_returns(good, good, good, good, **numbers)
    with pytest.raises(ValueError, match="got"):
        lambda_returns(*[torch.zeros(0, 2)] * 4, gamma=0.9, lambda_=0.9)


def test_nan_stays_in_its_own_game() -> None:
    rewards, values = torch.ones(4, 1), torch.ones(4, 1)
    over = torch.tensor([[False], [True], [False], [False]])
    rewards[2:] = float("nan")
    values[2:] = float("inf")
    returns = lambda_returns(rewards, values, over, torch.zeros_like(over), gamma=0.5, lambda_=0.5)
    assert returns[:2, 0].tolist() == [1 + 0.5 * (0.5 * 1 + 0.5 * 1), 1.0]
    assert not returns[2:].isfinite().any()
