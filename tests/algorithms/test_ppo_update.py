"""PPO's rollout and update: stored values, loss, weights of rows, published settings."""

from __future__ import annotations

import copy
import re
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from tests.probes import Event, ScriptedEngine, make_learner, random_events, script
from torch import Tensor

from hadamax.algorithms.ppo import PPOSettings
from hadamax.environments import Step, VectorEnvironment
from hadamax.errors import UserError
from hadamax.functional import gae

LIMIT, OVER = Event(reward=-5, truncated=True), Event(reward=5, lives=0, terminated=True)


def scripted(rule: Any, num_envs: int, **settings: Any) -> Any:
    engine = ScriptedEngine(rule, num_envs, action_names=("NOOP", "FIRE", "LEFT", "RIGHT"))
    environment = VectorEnvironment(engine, seed=3, life_loss_terminal=True, fire_after_life_loss=True)
    return make_learner(environment, algorithm="ppo", **{"num_steps": 8, "num_minibatches": 4, **settings})


def collected(**settings: Any) -> Any:
    """Return a learner after a rollout with forced FIRE on some rows."""
    learner = scripted(random_events, 8, **settings)
    learner.collect()
    assert 0 < (~learner.rollout.agent_acted).sum() < 32
    return learner


def weights(learner: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in learner.network.parameters()])


def updated(learner: Any, rows: Tensor | None = None) -> Tensor:
    """Return the weights after an update with raised advantages in some rows."""
    learner = copy.deepcopy(learner)
    advantages = learner.advantages()
    if rows is not None:
        advantages[rows] += 1000
    learner.update(advantages)
    return weights(learner)


def test_rollout_stores_values_and_log_probabilities() -> None:
    learner = scripted(script([Event(1), LIMIT, OVER, Event()], [Event()] * 4), 2, num_steps=4, num_minibatches=1)
    noted: list[tuple[np.ndarray, np.ndarray, Step]] = []
    step = learner.environment.step

    def stepping(actions: np.ndarray) -> Step:
        before = learner.environment.observations.copy()
        noted.append((before, actions.copy(), step(actions)))
        return noted[-1][2]

    learner.environment.step = stepping
    learner.collect()
    for t, (observations, actions, result) in enumerate(noted):
        with torch.no_grad():
            logits, values = learner.forward(torch.from_numpy(observations))
            following = learner.forward(torch.from_numpy(result.observations))[1]
            for env, final in zip(result.ended, result.final_observations, strict=True):
                if result.truncated[env]:
                    own = learner.forward(torch.from_numpy(final[None]))[1].squeeze()
                    assert own != following[env]
                    following[env] = own
        assert np.array_equal(learner.rollout.actions[t], actions)
        chosen = logits.log_softmax(1)[torch.arange(2), torch.from_numpy(actions)]
        torch.testing.assert_close(learner.rollout.log_probs[t], chosen)
        torch.testing.assert_close(learner.rollout.values[t], values)
        torch.testing.assert_close(learner.rollout.next_values[t], following)
    assert learner.rollout.truncated.T.int().tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    r = learner.rollout
    expected = gae(
        r.rewards, learner.rollout.values, r.next_values, r.terminated, r.truncated, gamma=0.99, lambda_=0.95
    )
    assert torch.equal(learner.advantages(), expected)


def test_test_environments_act_greedily_and_are_not_stored() -> None:
    learner = scripted(random_events, 5, num_test_envs=2)
    step, greedy = learner.environment.step, []

    def stepping(actions: np.ndarray) -> Step:
        scores = learner.q_values(torch.from_numpy(learner.environment.observations))
        greedy.append(np.array_equal(actions[3:], scores[3:].argmax(1).numpy()))
        return step(actions)

    learner.environment.step = stepping
    games = [game for _ in range(6) for game in learner.iteration().games]
    assert all(greedy)
    assert learner.rollout.observations.shape[:2] == (8, 3)
    assert {game.source for game in games if game.env >= 3} == {"test"}
    assert {game.source for game in games if game.env < 3} == {"training"}
    assert learner.frames == 6 * 8 * 3 * 4


def test_forced_actions_do_not_change_the_update() -> None:
    learner = collected()
    forced = ~learner.rollout.agent_acted
    # The sums differ in zero terms only.
    torch.testing.assert_close(updated(learner), updated(learner, forced), rtol=0, atol=1e-6)
    one = torch.zeros_like(forced)
    one[tuple(learner.rollout.agent_acted.nonzero()[0])] = True
    assert (updated(learner) - updated(learner, one)).abs().max() > 1e-5


def test_minibatch_of_forced_actions_changes_nothing() -> None:
    learner = collected(num_epochs=1)
    learner.rollout.agent_acted[:] = False
    assert torch.equal(weights(learner), updated(learner))


@pytest.mark.parametrize("max_grad_norm", [0.01, 1e6])
@pytest.mark.parametrize("clip_value", [True, False])
def test_update_is_one_adam_step_on_the_published_loss(max_grad_norm: float, clip_value: bool) -> None:
    settings = {"max_grad_norm": max_grad_norm, "clip_value": clip_value, "learning_rate": 1e-3}
    learner = collected(num_epochs=1, num_minibatches=1, **settings)
    other, rollout, advantages = copy.deepcopy(learner.network), learner.rollout, learner.advantages()
    rows = rollout.agent_acted
    old_values = learner.rollout.values + 0.15  # as if the values had changed since, some beyond the clip
    learner.rollout.values += 0.15
    logits, values = other.policy_and_value(rollout.observations.flatten(0, 1))
    policy = torch.distributions.Categorical(logits=logits.view(8, 8, -1))
    ratio = (policy.log_prob(rollout.actions) - learner.rollout.log_probs)[rows].exp()
    a = advantages[rows]
    a = (a - a.mean()) / (a.std() + 1e-8)
    policy_loss = torch.max(-a * ratio, -a * ratio.clamp(0.9, 1.1)).mean()
    returns, v, old = (advantages + old_values)[rows], values.view(8, 8)[rows], old_values[rows]
    errors = (v - returns) ** 2
    if clip_value:
        errors = torch.max(errors, (old + (v - old).clamp(-0.1, 0.1) - returns) ** 2)
    loss = policy_loss - 0.01 * policy.entropy()[rows].mean() + 0.5 * 0.5 * errors.mean()
    loss.backward()
    norm = nn_norm(other)
    for p in other.parameters():
        p.grad *= min(1.0, max_grad_norm / norm)
    torch.optim.Adam(other.parameters(), lr=1e-3, eps=1e-5).step()
    metrics = learner.update(advantages)
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert metrics["approximate_kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["entropy"] == pytest.approx(policy.entropy()[rows].mean().item(), rel=1e-5)
    for p, expected in zip(learner.network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, expected, rtol=1e-4, atol=2e-6)


def nn_norm(network: torch.nn.Module) -> float:
    return torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm().item()


def test_learning_rate_decays_per_iteration() -> None:
    learner = scripted(random_events, 2, decay_iterations=4)
    rates = [learner.iteration().metrics["learning_rate"] for _ in range(5)]
    assert rates == pytest.approx([2.5e-4, 1.875e-4, 1.25e-4, 0.625e-4, 0.0])
    steady = scripted(random_events, 2, decay_iterations=4, lr_decay=False)
    assert [steady.iteration().metrics["learning_rate"] for _ in range(3)] == [2.5e-4] * 3


def test_all_layers_start_orthogonal() -> None:
    network = scripted(random_events, 2).network
    for name, gain in (("encoder.dense.1.weight", 2**0.5), ("policy.weight", 0.01), ("value.weight", 1.0)):
        weight = network.get_parameter(name).detach()
        product = weight @ weight.T
        torch.testing.assert_close(product, gain**2 * torch.eye(len(product)), atol=1e-5, rtol=0)
    assert not network.get_parameter("encoder.dense.0.bias").any()
    plain = scripted(random_events, 2, orthogonal=False).network
    assert plain.get_parameter("encoder.dense.0.bias").any()


def test_defaults_are_the_published_settings() -> None:
    assert asdict(PPOSettings()) == {
        "num_envs": 8,
        "num_steps": 128,
        "num_epochs": 4,
        "num_minibatches": 4,
        "learning_rate": 2.5e-4,
        "lr_decay": True,
        "adam_epsilon": 1e-5,
        "max_grad_norm": 0.5,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip": 0.1,
        "clip_value": True,
        "normalise_advantages": True,
        "entropy_coefficient": 0.01,
        "value_coefficient": 0.5,
        "orthogonal": True,
        "num_test_envs": 0,
        "env_groups": 0,
        "redo_every": 0,
        "redo_tau": 0.025,
    }


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"num_envs": 0}, "num_envs: 0 is out of range; expected 1 or more"),
        (
            {"num_minibatches": 3},
            "num_minibatches: 3 does not divide num_envs * num_steps = 1024; expected a divisor, such as 2",
        ),
        ({"gae_lambda": 1.5}, "gae_lambda: 1.5 is out of range; expected 0 to 1"),
        ({"clip": 0.0}, "clip: 0.0 is out of range; expected a finite number above 0"),
        ({"entropy_coefficient": -1.0}, "entropy_coefficient: -1.0 is out of range; expected 0 or more"),
        ({"redo_every": -1}, "redo_every: -1 is out of range; expected 0 or more"),
    ],
)
def test_invalid_settings_raise_a_one_line_error(settings: dict, line: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
        PPOSettings(**settings)
