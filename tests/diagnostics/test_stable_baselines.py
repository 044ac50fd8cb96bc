"""Policies of Stable-Baselines3."""

from __future__ import annotations

import gymnasium
import pytest
import torch

from hadamax.diagnostics import Probe, measure, observe

stable_baselines3 = pytest.importorskip("stable_baselines3", reason="needs the extra: pip install 'hadamax-rl[sb3]'")
pytestmark = pytest.mark.extra("sb3")


def test_measures_a_policy_and_a_q_network() -> None:
    environment = gymnasium.make("CartPole-v1")
    observations = torch.randn(100, 4)
    ppo = stable_baselines3.PPO("MlpPolicy", environment, device="cpu")
    health = measure(observe(ppo.policy, observations))
    assert {row.layer.split(".")[0] for row in health} == {"mlp_extractor"}
    assert all(row.units == 64 for row in health)
    dqn = stable_baselines3.DQN("MlpPolicy", environment, device="cpu")
    with Probe(dqn.q_net) as probe:
        dqn.predict(observations.numpy())
    assert [sample.activations.shape for sample in probe.samples()] == [(100, 64), (100, 64)]
