"""DQN, C51, Rainbow and each switch of Rainbow learn the known Q-values of small environments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.algorithms.replay_learners import ABLATIONS, make
from tests.probes import (
    ConstantReward,
    Countdown,
    DelayedReward,
    ObservedReward,
    Probe,
    TwoChoices,
    Wheel,
    probe_environment,
)

pytestmark = pytest.mark.end_to_end

GAMMA = 0.7
ATOMS = {"num_atoms": 31, "v_min": -2.0, "v_max": 5.5}
FAST = {"learning_rate": 3e-3, "adam_eps": 1e-6, "batch_size": 64, "target_every": 40, "gamma": GAMMA}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "dqn": {},
    "dqn single": {"double": False},
    "c51": ATOMS,
    "rainbow": {**ATOMS, "n_step": 2, "noise": 0.1},
}


def solve(name: str, probe: type[Probe], steps: int, *, num_actions: int = 1, **settings: Any) -> torch.Tensor:
    """Train on random actions of four environments and return Q-values [state, action]."""
    learner = make(
        name.split()[0],
        probe_environment(lambda: probe(num_actions), 4),
        encoder_options={"features": 32},
        decay_steps=10**9,  # epsilon stays 1
        **{**FAST, **ALGORITHMS[name], **settings},
    )
    while learner.steps < steps:
        learner.iteration()
    learner.network.eval()  # without the noise
    return learner.q_values(torch.eye(probe.states))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_learns_a_constant_reward(name: str) -> None:
    torch.testing.assert_close(solve(name, ConstantReward, 600), torch.tensor([[1.0]]), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_learns_a_reward_from_the_observation(name: str) -> None:
    torch.testing.assert_close(solve(name, ObservedReward, 800), torch.tensor([[-1.0], [2.0]]), atol=0.08, rtol=0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_discounts_a_delayed_reward(name: str) -> None:
    torch.testing.assert_close(solve(name, DelayedReward, 1000), torch.tensor([[GAMMA], [1.0]]), atol=0.08, rtol=0)


@pytest.mark.parametrize("name", ["dqn", "dqn single", "c51"])
def test_bootstraps_from_the_best_next_action(name: str) -> None:
    q = solve(name, TwoChoices, 1600, num_actions=2)
    expected = torch.tensor([[GAMMA, 2 * GAMMA], [1.0, 0.0], [-1.0, 2.0]])
    torch.testing.assert_close(q, expected, atol=0.12, rtol=0)


@pytest.mark.parametrize("ablation", ["none", "double", "prioritised", "dueling", "distributional"])
def test_off_policy_switches_of_rainbow_learn_optimal_values(ablation: str) -> None:
    q = solve("rainbow", TwoChoices, 1600, num_actions=2, **{**ATOMS, **ABLATIONS[ablation]})
    expected = torch.tensor([[GAMMA, 2 * GAMMA], [1.0, 0.0], [-1.0, 2.0]])
    torch.testing.assert_close(q, expected, atol=0.15, rtol=0)


@pytest.mark.parametrize("ablation", ["noisy", "n_step", "all"])
def test_on_policy_switches_of_rainbow_learn_known_values(ablation: str) -> None:
    """Noisy layers choose the actions and n-step returns follow them, so this environment has one action."""
    q = solve("rainbow", DelayedReward, 1000, **{**ATOMS, "noise": 0.1, **ABLATIONS[ablation]})
    torch.testing.assert_close(q, torch.tensor([[GAMMA], [1.0]]), atol=0.08, rtol=0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_bootstraps_on_truncation(name: str) -> None:
    q = solve(name, Wheel, 2000)
    at_the_reward = 3 / (1 - GAMMA**3)
    torch.testing.assert_close(q, torch.tensor([[GAMMA**2], [GAMMA], [1.0]]) * at_the_reward, atol=0.25, rtol=0)


@pytest.mark.parametrize("name", ["dqn", "rainbow"])
def test_does_not_bootstrap_on_termination(name: str) -> None:
    q = solve(name, Countdown, 1600)[:4]
    expected = torch.tensor([[(1 - GAMMA ** (4 - state)) / (1 - GAMMA)] for state in range(4)])
    torch.testing.assert_close(q, expected, atol=0.12, rtol=0)
