"""PQN's update: loss, weights of rows, published schedules."""

from __future__ import annotations

import copy
import re
from dataclasses import asdict

import pytest
import torch
from tests.probes import Countdown, ScriptedEngine, make_learner, probe_environment, random_events
from torch import Tensor

from hadamax.algorithms.pqn import PQN, PQNSettings
from hadamax.environments import VectorEnvironment
from hadamax.errors import UserError
from hadamax.functional import lambda_returns


def with_forced_rows(**settings: object) -> PQN:
    """Return a learner after a rollout with forced FIRE on some rows."""
    environment = VectorEnvironment(
        ScriptedEngine(random_events, 8), seed=3, life_loss_terminal=True, fire_after_life_loss=True
    )
    learner = make_learner(environment, **{"num_steps": 8, "num_minibatches": 4, **settings})
    learner.collect()
    assert 0 < (~learner.rollout.agent_acted).sum() < 32
    return learner


def small(**settings: object) -> PQN:
    environment = probe_environment(lambda: Countdown(1), 4)
    return make_learner(environment, **{"num_steps": 4, "num_minibatches": 2, **settings})


def weights(learner: PQN) -> Tensor:
    return torch.cat([p.detach().flatten() for p in learner.network.parameters()])


def updated(learner: PQN, rows: Tensor | None = None) -> Tensor:
    """Return the weights after an update with raised rewards in some rows."""
    learner = copy.deepcopy(learner)
    if rows is not None:
        learner.rollout.rewards[rows] += 1000
    learner.update(learner.targets())
    return weights(learner)


def test_forced_actions_do_not_change_the_update() -> None:
    learner = with_forced_rows()
    forced = ~learner.rollout.agent_acted
    assert torch.equal(updated(learner), updated(learner, forced))
    one = torch.zeros_like(forced)
    one[tuple(learner.rollout.agent_acted.nonzero()[0])] = True
    assert not torch.equal(updated(learner), updated(learner, one))


def test_minibatch_of_forced_actions_changes_nothing() -> None:
    learner = with_forced_rows(num_epochs=1)
    learner.rollout.agent_acted[:] = False
    assert torch.equal(weights(learner), updated(learner))


def test_loss_is_half_the_mean_squared_error_of_chosen_rows() -> None:
    learner = with_forced_rows(num_epochs=1, num_minibatches=1)
    rollout, targets = learner.rollout, learner.targets()
    with torch.no_grad():
        q = learner.network(rollout.observations.flatten(0, 1)).view(8, 8, -1)
    error = q.gather(2, rollout.actions[..., None]) - targets
    expected = 0.5 * error[rollout.agent_acted].square().mean()
    assert learner.update(targets)["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_targets_are_lambda_returns_of_the_rollout() -> None:
    learner = with_forced_rows(gamma=0.9, q_lambda=0.3)
    r = learner.rollout
    next_values = r.next_values.squeeze(2)
    expected = lambda_returns(r.rewards, next_values, r.terminated, r.truncated, gamma=0.9, lambda_=0.3)
    assert torch.equal(learner.targets().squeeze(2), expected)


@pytest.mark.parametrize("max_grad_norm", [0.01, 1e6])
def test_update_is_one_radam_step_on_the_clipped_gradient(max_grad_norm: float) -> None:
    learner = with_forced_rows(num_epochs=1, num_minibatches=1, max_grad_norm=max_grad_norm, lr_decay=False)
    other, rollout, targets = copy.deepcopy(learner.network), learner.rollout, learner.targets()
    q = other(rollout.observations.flatten(0, 1)).gather(1, rollout.actions.view(-1, 1)).view(8, 8, 1)
    (0.5 * (q - targets)[rollout.agent_acted].square().mean()).backward()
    norm = torch.stack([p.grad.norm() for p in other.parameters()]).norm()
    for p in other.parameters():
        p.grad *= min(1.0, max_grad_norm / norm.item())
    torch.optim.RAdam(other.parameters(), lr=2.5e-4).step()
    metrics = learner.update(targets)
    assert metrics["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    for p, expected in zip(learner.network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, expected, rtol=1e-5, atol=1e-6)


def test_each_row_is_used_once_per_epoch() -> None:
    learner = small(num_epochs=3, num_minibatches=4)
    learner.collect()
    learner.rollout.observations.copy_(torch.rand(4, 4, 5))  # distinguishable rows
    seen: list[Tensor] = []
    learner.network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    learner.update(learner.targets())
    rows = learner.rollout.observations.flatten(0, 1).sum(dim=1).sort().values
    assert [len(batch) for batch in seen] == [4] * 12
    for epoch in range(3):
        batch = torch.cat(seen[4 * epoch : 4 * epoch + 4])
        assert torch.equal(batch.sum(dim=1).sort().values, rows)
    assert not torch.equal(seen[0], seen[4])  # reshuffled


# -- schedules ---------------------------------------------


def learning_rates(learner: PQN, iterations: int) -> list[float]:
    rates, advance = [], learner.optimizer.count_step

    def advancing() -> Tensor:
        rates.append(learner.optimizer.param_groups[0]["lr"])
        return advance()

    learner.optimizer.count_step = advancing
    for _ in range(iterations):
        learner.iteration()
    return rates


def test_learning_rate_decays_to_zero() -> None:
    learner = small(decay_iterations=5, num_epochs=2, num_minibatches=2, learning_rate=1e-3)
    expected = [1e-3 * (1 - k / 20) for k in range(20)] + [0.0] * 8  # four updates per iteration, and two more
    assert learning_rates(learner, 7) == pytest.approx(expected, abs=1e-12)


def test_learning_rate_stays_without_decay() -> None:
    assert set(learning_rates(small(decay_iterations=2, learning_rate=1e-3, lr_decay=False), 4)) == {1e-3}


def test_epsilon_decays_over_a_tenth_of_the_decay_frames() -> None:
    learner = small(decay_iterations=40)
    metrics = [learner.iteration().metrics["epsilon"] for _ in range(6)]
    assert metrics == pytest.approx([1.0, 0.75025, 0.5005, 0.25075, 0.001, 0.001])


def test_schedules_follow_decay_frames() -> None:
    learner = small(decay_iterations=10, epsilon_decay=1.0, epsilon_end=0.0, num_minibatches=1, num_epochs=1)
    for learner.iterations, epsilon in ((0, 1.0), (5, 0.5), (10, 0.0), (20, 0.0)):
        assert learner.epsilon() == epsilon
    assert learner.learning_rate(2.5) == pytest.approx(0.75 * 2.5e-4)


def test_schedules_restart_with_each_game_of_a_sequence() -> None:
    learner = small(decay_iterations=10, epsilon_decay=1.0, epsilon_end=0.0, num_minibatches=1, num_epochs=1)
    learner.restart_frames = 10 * learner.frames_per_iteration
    for learner.iterations, epsilon in ((0, 1.0), (5, 0.5), (9, 0.1), (10, 1.0), (25, 0.5)):
        assert learner.epsilon() == pytest.approx(epsilon)
    learner.iterations = 22
    assert learner.learning_rate(22.5) == pytest.approx(0.75 * 2.5e-4)


def test_metrics_describe_one_iteration() -> None:
    learner = small(decay_iterations=10)
    metrics = learner.iteration().metrics
    assert set(metrics) == {"epsilon", "loss", "q_mean", "grad_norm", "learning_rate"}
    assert metrics["learning_rate"] == pytest.approx(2.5e-4 * (1 - 3 / 40))  # the last of its four updates


# -- settings ---------------------------------------------


def test_defaults_are_the_published_settings() -> None:
    assert asdict(PQNSettings()) == {
        "num_envs": 128,
        "num_steps": 32,
        "num_epochs": 2,
        "num_minibatches": 32,
        "learning_rate": 2.5e-4,
        "lr_decay": True,
        "max_grad_norm": 10.0,
        "gamma": 0.99,
        "q_lambda": 0.65,
        "epsilon_start": 1.0,
        "epsilon_end": 0.001,
        "epsilon_decay": 0.1,
        "num_test_envs": 8,
        # Options of other papers: off by default, with their published values.
        "dueling": False,
        "hl_gauss": False,
        "bins": 51,
        "v_min": -10.0,
        "v_max": 10.0,
        "bin_sigma": 0.75,
        "ensemble": 1,
        "mask_probability": 1.0,
        "env_groups": 0,
        "redo_every": 0,
        "redo_tau": 0.025,
    }


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"num_envs": 0}, "num_envs: 0 is out of range; expected 1 or more"),
        ({"num_epochs": 0}, "num_epochs: 0 is out of range"),
        ({"num_test_envs": -1}, "num_test_envs: -1 is out of range; expected 0 or more"),
        (
            {"num_minibatches": 33},
            "num_minibatches: 33 does not divide num_envs * num_steps = 4096; expected a divisor, such as 32",
        ),
        ({"gamma": 1.01}, "gamma: 1.01 is out of range; expected 0 to 1"),
        ({"q_lambda": float("nan")}, "q_lambda: nan is out of range"),
        ({"epsilon_end": -0.1}, "epsilon_end: -0.1 is out of range"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0 is out of range; expected a finite number above 0"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm: inf is out of range"),
    ],
)
def test_invalid_settings_raise_a_one_line_error(settings: dict, line: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(line)}"):
        PQNSettings(**settings)
