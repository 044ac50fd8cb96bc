"""PQN's optional heads: known values, separate targets per ensemble member, exact resume."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.algorithms.test_pqn_repeats import assert_same, everything, run
from tests.probes import (
    ObservedReward,
    Probe,
    ScriptedEngine,
    TwoChoices,
    Wheel,
    make_learner,
    probe_environment,
    random_events,
)

from hadamax.algorithms.pqn import PQNSettings
from hadamax.environments import EnvironmentSettings, VectorEnvironment, make_environment
from hadamax.errors import UserError
from hadamax.functional import lambda_returns
from hadamax.runs import checkpoints

GAMMA = 0.7
SWITCHES = {
    "dueling": {"dueling": True},
    "hl-gauss": {"hl_gauss": True},
    "ensemble": {"ensemble": 4},
    "masks": {"ensemble": 4, "mask_probability": 0.5},
    "all": {"dueling": True, "hl_gauss": True, "ensemble": 4},
}
HISTOGRAM = {"v_min": -3.0, "v_max": 6.0, "bins": 31}


def solve(probe: type[Probe], iterations: int, num_actions: int = 1, **settings: Any) -> torch.Tensor:
    """Train and return Q-values [state, member, action]."""
    learner = make_learner(
        probe_environment(lambda: probe(num_actions), 16),
        decay_iterations=iterations,
        gamma=GAMMA,
        **{"num_steps": 8, "num_minibatches": 2, "learning_rate": 1e-2, "epsilon_end": 1.0, **HISTOGRAM, **settings},
    )
    for _ in range(iterations):
        learner.iteration()
    return learner.values(torch.eye(probe.states))


@pytest.mark.parametrize("name", SWITCHES)
def test_learns_a_reward_from_the_observation(name: str) -> None:
    values = solve(ObservedReward, 60, **SWITCHES[name])
    torch.testing.assert_close(values, torch.tensor([-1.0, 2.0])[:, None, None].expand_as(values), atol=0.06, rtol=0)


@pytest.mark.parametrize("name", ["hl-gauss", "all"])
@pytest.mark.end_to_end
def test_bootstraps_from_the_best_next_action(name: str) -> None:
    values = solve(TwoChoices, 110, 2, q_lambda=0.0, **SWITCHES[name])
    expected = torch.tensor([[GAMMA, 2 * GAMMA], [1.0, 0.0], [-1.0, 2.0]])[:, None]
    torch.testing.assert_close(values, expected.expand_as(values), atol=0.12, rtol=0)


@pytest.mark.end_to_end
def test_bootstraps_on_truncation_for_every_member() -> None:
    values = solve(Wheel, 110, v_max=9.0, **SWITCHES["all"])
    expected = torch.tensor([GAMMA**2, GAMMA, 1.0])[:, None, None] * 3 / (1 - GAMMA**3)
    torch.testing.assert_close(values, expected.expand_as(values), atol=0.2, rtol=0)


def scripted(**settings: Any) -> Any:
    environment = VectorEnvironment(ScriptedEngine(random_events, 7), seed=3, life_loss_terminal=True)
    return make_learner(environment, **{"num_steps": 8, "num_minibatches": 4, "num_test_envs": 2, **settings})


def test_each_member_has_its_own_targets() -> None:
    learner = scripted(ensemble=3)
    learner.collect()
    r, targets = learner.rollout, learner.targets()
    assert targets.shape == (8, 5, 3)
    for member in range(3):
        ends = r.terminated, r.truncated
        expected = lambda_returns(r.rewards, r.next_values[..., member], *ends, gamma=0.99, lambda_=0.65)
        assert torch.equal(targets[..., member], expected)
    assert not torch.equal(targets[..., 0], targets[..., 1])


def test_one_member_acts_per_game_and_is_redrawn_after_it() -> None:
    learner = scripted(ensemble=10, epsilon_start=0.0, epsilon_end=0.0)
    send, receive, acting = learner.environment.send, learner.environment.receive, learner.ensemble.acting
    history, changed, games = [], 0, 0

    def sending(actions: Any) -> None:
        values = learner.values(torch.from_numpy(learner.environment.observations))
        own = values[torch.arange(5), acting].argmax(1)
        assert torch.equal(torch.from_numpy(actions[:5]), own)
        assert torch.equal(torch.from_numpy(actions[5:]), learner.q_values(learner_observations())[5:].argmax(1))
        send(actions)

    def receiving() -> Any:
        history.append((acting.clone(), receive()))
        return history[-1][1]

    def learner_observations() -> torch.Tensor:
        return torch.from_numpy(learner.environment.observations)

    learner.environment.send, learner.environment.receive = sending, receiving
    run(learner, 12)
    for (before, result), (after, _) in pairwise(history):
        ended = [env in result.ended for env in range(5)]
        for env in range(5):
            if not ended[env]:
                assert before[env] == after[env]
        changed += sum(int(before[env] != after[env]) for env in range(5))
        games += sum(ended)
    assert games > 20
    assert 0.75 * games < changed <= games  # one of ten draws repeats the same member
    assert set(torch.cat([members for members, _ in history]).tolist()) == set(range(10))


def test_masked_rows_do_not_train_a_member() -> None:
    learner = scripted(ensemble=3, mask_probability=0.5, num_epochs=1, num_minibatches=1)
    masks = learner.ensemble.masks((1000,), 0.5)
    assert masks.shape == (1000, 3)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert masks.mean().item() == pytest.approx(0.5, abs=0.05)
    learner.collect()
    nothing = torch.zeros(40, 3)
    nothing[:, 1] = 1.0
    learner.ensemble.masks = lambda shape, probability: nothing
    before = learner.network.head.weight.detach().clone().view(3, -1)
    learner.update(learner.targets())
    after = learner.network.head.weight.detach().view(3, -1)
    assert [torch.equal(before[m], after[m]) for m in range(3)] == [True, False, True]


def atari(seed: int = 1, **settings: Any) -> Any:
    """Build PQN with all head options on small sticky Breakout with short games and frequent reseeding."""
    game = EnvironmentSettings("Breakout", sticky_actions=0.25, max_episode_frames=60, screen_size=44)
    environment = make_environment(game, 3, seed=seed, threads=1)
    environment.engine.reseed_steps = 10
    head = {"dueling": True, "hl_gauss": True, "ensemble": 3, "mask_probability": 0.8, "redo_every": 64, **settings}
    sizes = {"num_steps": 4, "num_epochs": 1, "num_minibatches": 2, "num_test_envs": 1, "learning_rate": 1e-3}
    return make_learner(
        environment,
        encoder="nature-norm",
        encoder_options={"width": 0.125},
        seed=seed,
        reward_clipping=True,
        **sizes,
        **head,
    )


@pytest.mark.end_to_end
def test_resumed_learner_equals_uninterrupted_one(tmp_path: Any) -> None:
    whole = atari()
    run(whole, 5)
    path = checkpoints.write(tmp_path, checkpoints.capture(whole.frames, whole.state_dict(), {}))
    expected = run(whole, 5)
    found = checkpoints.read(path)
    resumed = atari()
    run(resumed, 1)
    resumed.load_state_dict({"network": found.weights, **found.state})
    assert run(resumed, 5) == expected
    assert_same(resumed, whole)
    assert any(iteration.games for iteration in expected)
    assert "acting" in everything(whole)


def test_state_with_an_unknown_member_is_an_error() -> None:
    learner = scripted(ensemble=3)
    for acting in ([0, 1, 2, 3, 0], [0, 1, -1, 0, 0], [0, 1]):
        with pytest.raises(RuntimeError, match="the acting members are not 5 of 3"):
            learner.ensemble.load_state_dict({"acting": torch.tensor(acting)})


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"ensemble": 0}, "ensemble: 0 is out of range; expected 1 or more"),
        ({"bins": 1}, "bins: 1 is out of range; expected 2 or more"),
        ({"v_min": 10.0}, "v_min: 10.0 is not below v_max = 10.0; expected a smaller number"),
        ({"v_max": float("inf")}, "v_max: inf is out of range; expected a finite number"),
        ({"bin_sigma": 0.0}, "bin_sigma: 0.0 is out of range; expected a finite number above 0"),
        ({"mask_probability": 1.5}, "mask_probability: 1.5 is out of range; expected above 0, up to 1"),
        ({"redo_tau": float("nan")}, "redo_tau: nan is out of range"),
        ({"redo_every": -5}, "redo_every: -5 is out of range; expected 0 or more"),
    ],
)
def test_invalid_settings_raise_a_one_line_error(settings: dict, line: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(line)}"):
        PQNSettings(**settings)
