"""Generalized advantage estimation by hand and against its defining sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hadamax.functional import gae, lambda_returns, normalised


def column(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def by_hand(terminated: tuple[int, ...] = (), truncated: tuple[int, ...] = (), **numbers: float) -> list[float]:
    """Advantages of rewards 1, 2, 4 at values 4, 6, 8 with next values 10, 20, 40, cut at the given steps."""
    ends = [column(*(float(t in steps) for t in range(3))).bool() for steps in (terminated, truncated)]
    numbers = {"gamma": 0.5, "lambda_": 0.5, **numbers}
    values = column(4, 6, 8), column(10, 20, 40)
    return gae(column(1, 2, 4), *values, *ends, **numbers).flatten().tolist()


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        # d0 = 1 + 5 - 4 = 2, d1 = 2 + 10 - 6 = 6, d2 = 4 + 20 - 8 = 16; A1 = 6 + 16/4 = 10, A0 = 2 + 10/4
        ({}, [4.5, 10.0, 16.0]),
        ({"terminated": (1,)}, [1.0, -4.0, 16.0]),  # d1 = 2 - 6; A0 = 2 - 4/4
        ({"truncated": (1,)}, [3.5, 6.0, 16.0]),  # d1 = 6 from its own last observation; A0 = 2 + 6/4
        ({"terminated": (1,), "truncated": (1,)}, [1.0, -4.0, 16.0]),
        ({"terminated": (2,)}, [3.25, 5.0, -4.0]),  # d2 = 4 - 8; A1 = 6 - 1; A0 = 2 + 5/4
        ({"truncated": (2,)}, [4.5, 10.0, 16.0]),
        ({"lambda_": 0.0}, [2.0, 6.0, 16.0]),
        ({"lambda_": 1.0}, [9.0, 14.0, 16.0]),  # A1 = 6 + 8, A0 = 2 + 7
        ({"gamma": 0.0}, [-3.0, -4.0, -4.0]),
    ],
)
def test_gae_by_hand(ends: dict, expected: list[float]) -> None:
    assert by_hand(**ends) == expected


@given(steps=st.integers(1, 10), envs=st.integers(1, 3), seed=st.integers(0, 2**31))
@settings(max_examples=40)
def test_gae_equals_the_sum_of_discounted_errors(steps: int, envs: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    random = (torch.randn(steps, envs, generator=generator, dtype=torch.float64) for _ in range(3))
    rewards, values, following = random
    over, cut = (torch.rand(steps, envs, generator=generator) < 0.25 for _ in range(2))
    result = gae(rewards, values, following, over, cut, gamma=0.9, lambda_=0.7)
    for env in range(envs):
        for t in range(steps):
            expected, weight = 0.0, 1.0
            for k in range(t, steps):
                ahead = 0.0 if over[k, env] else 0.9 * following[k, env].item()
                expected += weight * (rewards[k, env].item() + ahead - values[k, env].item())
                if over[k, env] or cut[k, env]:
                    break
                weight *= 0.9 * 0.7
            assert result[t, env].item() == pytest.approx(expected, abs=1e-12)


def test_advantage_plus_value_is_the_lambda_return() -> None:
    """Holds where V'_t = V_{t+1}; the two functions are written independently."""
    rewards, values = torch.randn(7, 3, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    over, cut = torch.rand(7, 3) < 0.2, torch.zeros(7, 3, dtype=torch.bool)
    advantages = gae(rewards, values[:-1], values[1:], over, cut, gamma=0.9, lambda_=0.8)
    returns = lambda_returns(rewards, values[1:], over, cut, gamma=0.9, lambda_=0.8)
    torch.testing.assert_close(advantages + values[:-1], returns)


def test_advantages_do_not_cross_an_end() -> None:
    data = [torch.randn(6, 2) for _ in range(3)]
    over, cut = torch.zeros(6, 2, dtype=torch.bool), torch.zeros(6, 2, dtype=torch.bool)
    over[2, 0] = cut[2, 1] = True
    before = gae(*data, over, cut, gamma=0.9, lambda_=0.9)
    for tensor in data:
        tensor[3:] += 100
    after = gae(*data, over, cut, gamma=0.9, lambda_=0.9)
    assert torch.equal(before[:3], after[:3])
    assert (before[3:] != after[3:]).all()


def test_normalisation_uses_weighted_rows_only() -> None:
    advantages, weights = torch.tensor([1.0, 2.0, 6.0, 1000.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    kept = advantages[:3]
    torch.testing.assert_close(normalised(advantages, weights)[:3], (kept - kept.mean()) / kept.std())
    assert normalised(torch.tensor([3.0]), torch.ones(1)).tolist() == [0.0]
    assert normalised(advantages, torch.zeros(4)).isfinite().all()


def test_errors_name_the_shapes() -> None:
    good = torch.zeros(3, 2)
    for arguments in ([good] * 4 + [good[:2]], [torch.zeros(3)] * 5, [torch.zeros(0, 2)] * 5):
        with pytest.raises(ValueError, match=r"five tensors of one shape \[T, E\] with T >= 1, got"):
            gae(*arguments, gamma=0.9, lambda_=0.9)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.1 and 0\.9"):
        gae(*[good] * 5, gamma=1.1, lambda_=0.9)
    with pytest.raises(ValueError, match=r"one shape \[N\], got \[3, 2\] and \[3\]"):
        normalised(good, torch.zeros(3))
