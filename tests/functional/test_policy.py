"""PPO's losses by hand, on both sides of the clip, and where gradients stop."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from hadamax.functional import clipped_policy_loss, clipped_value_loss, entropy, sample_actions


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "moves"),
    [
        (1.0, 2.0, -2.0, True),
        (1.5, 2.0, -2.4, False),  # clipped: 1.2 * 2 without a gradient
        (0.5, 2.0, -1.0, True),  # worse: not clipped
        (0.5, -2.0, 1.6, False),  # less likely already: 0.8 * 2
        (1.5, -2.0, 3.0, True),
    ],
)
def test_policy_loss_by_hand(ratio: float, advantage: float, expected: float, moves: bool) -> None:
    log_prob = torch.tensor([math.log(ratio) - 1.0], requires_grad=True)
    loss = clipped_policy_loss(log_prob, torch.tensor([-1.0]), torch.tensor([advantage]), 0.2)
    assert loss.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(loss.sum(), log_prob)
    assert gradient.item() == pytest.approx(-ratio * advantage if moves else 0.0)


@pytest.mark.parametrize(
    ("value", "target", "expected", "moves"),
    [
        (1.1, 2.0, 0.5 * 0.9**2, True),
        (1.5, 2.0, 0.5 * 0.8**2, False),  # changed by 0.5 with 0.2 allowed: clipped to 1.2
        (1.5, 0.0, 0.5 * 1.5**2, True),  # changed in the wrong direction: not clipped
        (0.5, 0.0, 0.5 * 0.8**2, False),
    ],
)
def test_value_loss_by_hand(value: float, target: float, expected: float, moves: bool) -> None:
    values = torch.tensor([value], requires_grad=True)
    loss = clipped_value_loss(values, torch.tensor([1.0]), torch.tensor([target]), 0.2)
    assert loss.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(loss.sum(), values)
    assert gradient.item() == pytest.approx(value - target if moves else 0.0)


def test_unclipped_value_loss_is_half_the_square() -> None:
    values, old, returns = torch.randn(3, 50)
    torch.testing.assert_close(clipped_value_loss(values, old, returns, math.inf), 0.5 * (values - returns) ** 2)


def test_entropy_equals_scipy() -> None:
    logits = 3 * torch.randn(4, 5, dtype=torch.float64)
    expected = stats.entropy(logits.softmax(-1).numpy(), axis=-1)
    torch.testing.assert_close(entropy(logits), torch.from_numpy(expected))
    assert entropy(torch.zeros(1, 6)).item() == pytest.approx(math.log(6))
    assert entropy(torch.tensor([[1000.0, 0.0]])).item() == 0.0


def test_samples_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(3000, 3)
    actions = sample_actions(logits, torch.Generator().manual_seed(0))
    counts = actions.bincount(minlength=3).numpy()
    assert stats.chisquare(counts, 3000 * logits[0].double().softmax(0).numpy()).pvalue > 1e-3
    assert torch.equal(actions, sample_actions(logits, torch.Generator().manual_seed(0)))
    assert not torch.equal(actions, sample_actions(logits, torch.Generator().manual_seed(1)))
    assert sample_actions(logits[:0]).shape == (0,)


def test_errors_name_the_shapes() -> None:
    with pytest.raises(ValueError, match=r"clipped_policy_loss expects three tensors of one shape, got \[\[2\], \[2\]"):
        clipped_policy_loss(torch.zeros(2), torch.zeros(2), torch.zeros(3), 0.1)
    with pytest.raises(ValueError, match="clip must be above 0, got 0"):
        clipped_value_loss(*torch.zeros(3, 2), 0.0)
    with pytest.raises(ValueError, match=r"logits \[B, A\] expected, got \[3\]"):
        sample_actions(torch.zeros(3))
