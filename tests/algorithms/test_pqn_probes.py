"""PQN learns the known Q-values of small environments; each isolates one failure."""

from __future__ import annotations

import pytest
import torch
from tests.probes import (
    ConstantReward,
    Countdown,
    DelayedReward,
    ObservedReward,
    Probe,
    TwoChoices,
    Wheel,
    make_learner,
    probe_environment,
)

GAMMA = 0.7


def solve(probe: type[Probe], iterations: int, *, num_actions: int = 1, **settings: object) -> torch.Tensor:
    """Train and return Q-values [state, action]."""
    learner = make_learner(
        probe_environment(lambda: probe(num_actions), 16),
        decay_iterations=iterations,
        gamma=GAMMA,
        **{"num_steps": 8, "num_minibatches": 2, "learning_rate": 5e-3, "epsilon_end": 1.0, **settings},
    )
    for _ in range(iterations):
        learner.iteration()
    return learner.q_values(torch.eye(probe.states))


def test_learns_a_constant_reward() -> None:
    torch.testing.assert_close(solve(ConstantReward, 40), torch.tensor([[1.0]]), atol=0.02, rtol=0)


def test_learns_a_reward_from_the_observation() -> None:
    torch.testing.assert_close(solve(ObservedReward, 60), torch.tensor([[-1.0], [2.0]]), atol=0.03, rtol=0)


@pytest.mark.parametrize("q_lambda", [0.0, 1.0])
def test_discounts_a_delayed_reward(q_lambda: float) -> None:
    q = solve(DelayedReward, 60, q_lambda=q_lambda)
    torch.testing.assert_close(q, torch.tensor([[GAMMA], [1.0]]), atol=0.03, rtol=0)


def test_bootstraps_from_the_best_next_action() -> None:
    """Actions are random (epsilon 1). With lambda 0 the values are those of the best policy."""
    q = solve(TwoChoices, 110, num_actions=2, q_lambda=0.0)
    expected = torch.tensor([[GAMMA, 2 * GAMMA], [1.0, 0.0], [-1.0, 2.0]])
    torch.testing.assert_close(q, expected, atol=0.05, rtol=0)


def test_lambda_one_learns_the_values_of_the_acting_policy() -> None:
    """At lambda 1, Peng's Q(lambda) is Monte Carlo: it learns the values of the random policy."""
    q = solve(TwoChoices, 110, num_actions=2, q_lambda=1.0)
    torch.testing.assert_close(q[0], torch.tensor([GAMMA / 2, GAMMA / 2]), atol=0.12, rtol=0)


@pytest.mark.parametrize("q_lambda", [0.0, 0.65])
def test_bootstraps_on_truncation(q_lambda: float) -> None:
    q = solve(Wheel, 110, q_lambda=q_lambda)
    at_the_reward = 3 / (1 - GAMMA**3)
    expected = torch.tensor([[GAMMA**2], [GAMMA], [1.0]]) * at_the_reward
    torch.testing.assert_close(q, expected, atol=0.15, rtol=0)


def test_does_not_bootstrap_on_termination() -> None:
    q = solve(Countdown, 110)[:4]
    expected = torch.tensor([[(1 - GAMMA ** (4 - state)) / (1 - GAMMA)] for state in range(4)])
    torch.testing.assert_close(q, expected, atol=0.05, rtol=0)


def test_greedy_policy_becomes_the_best_one() -> None:
    q = solve(TwoChoices, 110, num_actions=2, epsilon_start=1.0, epsilon_end=0.1, epsilon_decay=0.5)
    assert q.argmax(dim=1).tolist() == [1, 0, 1]
