"""Epsilon-greedy frequencies, vote of an ensemble, schedules."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from hadamax.functional import epsilon_greedy, linear, vote


def choices(epsilon: float, rows: int = 20_000, seed: int = 3) -> torch.Tensor:
    q = torch.tensor([0.0, 5.0, -1.0, 2.0]).expand(rows, 4)  # the best action is 1
    return epsilon_greedy(q, torch.full((rows,), epsilon), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_epsilon_greedy_frequencies(epsilon: float) -> None:
    counts = choices(epsilon).bincount(minlength=4).numpy()
    expected = torch.full((4,), epsilon / 4, dtype=torch.float64)
    expected[1] += 1 - epsilon
    assert stats.chisquare(counts, expected.numpy() * counts.sum()).pvalue > 0.001


def test_epsilon_0_is_greedy_and_1_is_random() -> None:
    assert choices(0.0).eq(1).all()
    assert choices(1.0).dtype == torch.int64


def test_actions_draw_from_the_generator() -> None:
    torch.manual_seed(0)
    first = choices(0.5)
    torch.manual_seed(1)  # the global generator is not used
    assert torch.equal(first, choices(0.5))
    assert not torch.equal(first, choices(0.5, seed=4))


def test_epsilon_per_row() -> None:
    rows = 5000
    q = torch.tensor([[0.0, 1.0]]).expand(2 * rows, 2)
    epsilon = torch.cat([torch.zeros(rows), torch.ones(rows)])
    actions = epsilon_greedy(q, epsilon, torch.Generator().manual_seed(0))
    assert actions[:rows].eq(1).all()
    assert 0.45 < actions[rows:].float().mean() < 0.55


def test_ties_go_to_the_first_action() -> None:
    assert epsilon_greedy(torch.zeros(3, 4), torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("q", "epsilon"), [((3,), (3,)), ((3, 2), (2,)), ((3, 2), (3, 1)), ((3, 2), ())])
def test_errors_name_the_shapes(q: tuple[int, ...], epsilon: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"q_values \[B, A\] and epsilon \[B\] expected, got \[3"):
        epsilon_greedy(torch.zeros(q), torch.zeros(epsilon))


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 1.0), (0.25, 0.775), (0.5, 0.55), (1.0, 0.1), (1.5, 0.1), (1e9, 0.1)]
)
def test_linear_schedule_by_hand(progress: float, expected: float) -> None:
    assert linear(1.0, 0.1, progress) == pytest.approx(expected)


def test_linear_schedule_ends_exactly_and_may_rise() -> None:
    assert linear(2.5e-4, 0.0, 1.0) == 0.0
    assert linear(0.4, 1.0, 0.5) == pytest.approx(0.7)


def test_vote_by_hand() -> None:
    """Two members choose action 0, one chooses action 1 with by far the highest mean."""
    q = torch.tensor([[[1.0, 0, 0], [1, 0, 0], [0, 100, 0]]])
    scores = vote(q)
    assert scores.floor().tolist() == [[2.0, 1.0, 0.0]]
    assert scores.argmax(1).tolist() == [0]


def test_tied_vote_goes_to_the_higher_mean() -> None:
    q = torch.tensor([[[1.0, 0.5, 0], [0, 2, 0]], [[3, 0.5, 0], [0, 2, 0]]])
    assert vote(q).argmax(1).tolist() == [1, 0]
    even = torch.tensor([[[1000.0, 0.0], [1000, 0], [0, 1], [0, 1]]])  # a sure tie adds less than a vote
    assert vote(even).floor().tolist() == [[2.0, 2.0]]
    assert vote(even).argmax(1).tolist() == [0]


def test_invalid_votes_are_errors() -> None:
    assert vote(torch.zeros(0, 3, 2)).shape == (0, 2)
    with pytest.raises(ValueError, match=r"q_values \[B, member, A\] expected, got \[3, 2\]"):
        vote(torch.zeros(3, 2))
