"""PPO learns the known values and best actions of small environments; each isolates one failure."""

from __future__ import annotations

from typing import Any

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

pytestmark = pytest.mark.end_to_end

GAMMA = 0.7


def solve(probe: type[Probe], iterations: int, *, num_actions: int = 1, **settings: Any) -> tuple[Any, Any]:
    """Train and return probabilities [state, action] and values [state]."""
    learner = make_learner(
        probe_environment(lambda: probe(num_actions), 16),
        algorithm="ppo",
        decay_iterations=iterations,
        gamma=GAMMA,
        **{"num_steps": 8, "num_minibatches": 2, "learning_rate": 5e-3, "clip_value": False, **settings},
    )
    for _ in range(iterations):
        learner.iteration()
    with torch.no_grad():
        logits, values = learner.forward(torch.eye(probe.states))
    return logits.softmax(1), values


def close(found: torch.Tensor, expected: list[float], atol: float) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), atol=atol, rtol=0)


def test_learns_a_constant_reward() -> None:
    close(solve(ConstantReward, 30)[1], [1.0], 0.02)


def test_learns_a_reward_from_the_observation() -> None:
    close(solve(ObservedReward, 40)[1], [-1.0, 2.0], 0.03)


@pytest.mark.parametrize("gae_lambda", [0.0, 1.0])
def test_discounts_a_delayed_reward(gae_lambda: float) -> None:
    close(solve(DelayedReward, 50, gae_lambda=gae_lambda)[1], [GAMMA, 1.0], 0.03)


def test_bootstraps_on_truncation() -> None:
    at_the_reward = 3 / (1 - GAMMA**3)
    expected = [GAMMA**2 * at_the_reward, GAMMA * at_the_reward, at_the_reward]
    close(solve(Wheel, 80)[1], expected, 0.15)


def test_does_not_bootstrap_on_termination() -> None:
    expected = [(1 - GAMMA ** (4 - state)) / (1 - GAMMA) for state in range(4)]
    close(solve(Countdown, 80)[1][:4], expected, 0.05)


def test_learns_the_best_policy_and_its_values() -> None:
    probabilities, values = solve(TwoChoices, 60, num_actions=2)
    assert probabilities[0, 1] > 0.9
    assert probabilities[2, 1] > 0.9
    close(values[[0, 2]], [2 * GAMMA, 2.0], 0.15)
