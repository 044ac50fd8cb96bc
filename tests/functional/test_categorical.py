"""The categorical projection against a slow direct form and hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hadamax.functional import categorical_cross_entropy, categorical_projection, entropy_of


def slow_projection(probabilities: np.ndarray, reward: float, discount: float, support: np.ndarray) -> np.ndarray:
    """Bellemare et al. 2017, algorithm 1, one atom at a time, with its special case of a value that is an atom."""
    spacing = (support[-1] - support[0]) / (len(support) - 1)
    result = np.zeros(len(support))
    for atom, probability in zip(support, probabilities, strict=True):
        position = (min(max(reward + discount * atom, support[0]), support[-1]) - support[0]) / spacing
        low, high = math.floor(position), math.ceil(position)
        if low == high:
            result[low] += probability
        else:
            result[low] += probability * (high - position)
            result[high] += probability * (position - low)
    return result


@pytest.mark.parametrize(("low", "high", "atoms"), [(-10, 10, 51), (-1, 1, 2), (0, 3, 7), (-2.5, 0.5, 4)])
def test_projection_equals_the_slow_form(low: float, high: float, atoms: int) -> None:
    generator = np.random.default_rng(atoms)
    support = np.linspace(low, high, atoms)
    probabilities = generator.dirichlet(np.full(atoms, 0.3), 200)
    rewards = generator.uniform(1.5 * low - 1, 1.5 * high + 1, 200)
    discounts = generator.choice([0.0, 0.5, 0.99, 1.0], 200)
    rewards[:40] = generator.choice(support, 40)  # with discount 0 or 1, values that are atoms
    discounts[:40] = generator.choice([0.0, 1.0], 40)
    expected = [slow_projection(*row, support) for row in zip(probabilities, rewards, discounts, strict=True)]
    found = categorical_projection(*(torch.from_numpy(x) for x in (probabilities, rewards, discounts, support)))
    torch.testing.assert_close(found, torch.from_numpy(np.array(expected)), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(200, dtype=torch.float64))


def test_values_on_atoms_keep_their_probability() -> None:
    support = torch.tensor([-1.0, 0.0, 1.0, 2.0])
    here = torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 4)
    rewards, discounts = torch.tensor([0.0, 1.0, -1.0, 2.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    expected = torch.tensor(
        [
            [0.1, 0.2, 0.3, 0.4],  # nothing moves
            [0.0, 0.1, 0.2, 0.7],  # up by one: the top atom takes what would leave
            [0.3, 0.3, 0.4, 0.0],  # down by one
            [0.0, 0.0, 0.0, 1.0],  # nothing follows: all on the reward, which is the last atom
        ]
    )
    torch.testing.assert_close(categorical_projection(here, rewards, discounts, support), expected, atol=1e-7, rtol=0)


def test_value_between_atoms_is_shared() -> None:
    support, sure = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([[0.0, 0.0, 1.0]])
    found = categorical_projection(sure, torch.tensor([0.25]), torch.tensor([0.5]), support)  # 0.25 + 0.5 * 2
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.75, 0.25]]))


@pytest.mark.parametrize("reward", [-1e30, -11.0, 11.0, 1e30])
def test_values_outside_the_support_are_clipped(reward: float) -> None:
    support = torch.linspace(-10, 10, 51)
    found = categorical_projection(torch.full((1, 51), 1 / 51), torch.tensor([reward]), torch.tensor([0.0]), support)
    assert found[0, 0 if reward < 0 else -1] == pytest.approx(1)


def test_wrong_shapes_are_errors() -> None:
    one = torch.ones(2)
    for probabilities, rewards, support in (
        (torch.ones(2, 3), one, torch.ones(4)),
        (torch.ones(2, 1), one, torch.ones(1)),
        (torch.ones(2, 3), torch.ones(3), torch.ones(3)),
    ):
        with pytest.raises(ValueError, match="expected"):
            categorical_projection(probabilities, rewards, one, support)
    with pytest.raises(ValueError, match="one shape"):
        categorical_cross_entropy(torch.ones(2, 3), torch.ones(2, 4))


def test_cross_entropy_equals_entropy_of_itself() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])  # probabilities 1/4 and 3/4
    targets = torch.tensor([[0.5, 0.5]])
    expected = -0.5 * math.log(0.25) - 0.5 * math.log(0.75)
    assert categorical_cross_entropy(logits, targets).item() == pytest.approx(expected)
    assert entropy_of(targets).item() == pytest.approx(math.log(2))
    assert entropy_of(torch.tensor([[1.0, 0.0]])).item() == 0
    assert categorical_cross_entropy(targets.log(), targets) == pytest.approx(entropy_of(targets).item())
