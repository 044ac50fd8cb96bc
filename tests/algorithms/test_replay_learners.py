"""DQN, C51 and Rainbow on Breakout at small scale: counters, targets, stored rows."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from tests.algorithms.replay_learners import make
from tests.probes import Event, ScriptedEngine, TwoChoices, probe_environment, script

from hadamax.algorithms import ALGORITHMS
from hadamax.algorithms.c51 import C51Settings
from hadamax.algorithms.dqn import DQNSettings
from hadamax.algorithms.rainbow import RainbowSettings
from hadamax.environments import EnvironmentSettings, VectorEnvironment, make_environment
from hadamax.errors import UserError
from hadamax.networks import build_encoder

HR = {"activation": "tanh", "branches": 2, "layers": "last"}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "nature": ("nature", {"width": 0.125}),
    "hadamax": ("hadamax", {"width": 0.125}),
    "HR": ("nature", {"width": 0.125, **HR}),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("algorithm", ["dqn", "c51", "rainbow"])
@pytest.mark.end_to_end
def test_updates_change_all_weights_on_atari(algorithm: str, name: str) -> None:
    """128 agent steps: updates change the weights, the loss stays finite, games are counted."""
    settings = EnvironmentSettings("Breakout", max_episode_frames=60, screen_size=44)
    environment = make_environment(settings, 2, seed=1, threads=1)
    encoder, options = ENCODERS[name]
    learner = make(algorithm, environment, encoder=encoder, encoder_options=options, batch_size=4, reward_clipping=True)
    before = [parameter.clone() for parameter in learner.network.parameters()]
    found = [learner.iteration() for _ in range(4)]
    for parameter, first in zip(learner.network.parameters(), before, strict=True):
        assert torch.isfinite(parameter).all()
        assert not torch.equal(parameter, first)
    assert all(math.isfinite(value) for one in found for value in one.metrics.values())
    assert [set(one.metrics) for one in found] == [set(found[0].metrics)] * 4
    assert found[0].metrics["updates"] == 0
    assert found[-1].metrics["updates"] == learner.updates == 20  # at steps 52, 56, ... 128
    assert found[-1].metrics["loss"] > 0
    games = [game for one in found for game in one.games]
    assert len(games) == 2 * (64 // 15)  # truncated after 60 frames, 15 steps
    assert {game.length for game in games} == {60}
    assert [game.frame for game in games] == sorted(game.frame for game in games)


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_updates_per_step_do_not_depend_on_num_envs(num_envs: int) -> None:
    learner = make("dqn", probe_environment(lambda: TwoChoices(2), num_envs), iteration_steps=40, learning_starts=80)
    while learner.steps < 480:
        learner.iteration()
    assert learner.steps // 4 - learner.updates == pytest.approx(80 // 4, abs=1)
    assert learner.frames_per_iteration == -(-40 // num_envs) * num_envs


def test_target_network_is_copied_every_target_every_steps() -> None:
    learner = make("dqn", probe_environment(lambda: TwoChoices(2), 1), target_every=64, learning_starts=0, batch_size=4)
    weight = copy.deepcopy(learner.network.head.weight)
    for _ in range(4):
        learner.iteration()
        copied = torch.equal(learner.target_network.head.weight, learner.network.head.weight)
        assert copied == (learner.steps % 64 == 0)
    assert not torch.equal(weight, learner.network.head.weight)


def test_stored_rewards_are_clipped() -> None:
    engine = ScriptedEngine(script([Event(0.5), Event(7), Event(-3)]), 1)
    learner = make("dqn", VectorEnvironment(engine, seed=0), reward_clipping=True)
    learner.iteration()
    assert learner.replay.rewards[:3].tolist() == [0.5, 1.0, -1.0]


def test_forced_actions_are_stored_but_not_sampled() -> None:
    events = [Event(lives=2), Event(lives=2), Event(lives=1), Event(lives=1)]
    engine = ScriptedEngine(script(events * 3), 1)
    environment = VectorEnvironment(engine, seed=0, life_loss_terminal=True, fire_after_life_loss=True)
    learner = make("dqn", environment)
    learner.iteration()
    ready = learner.replay.ready[:8].tolist()
    assert ready == [True, False, True, False, True, True, True, False]  # FIRE follows each loss of a life


def double_q_by_hand(learner: Any, batch: Any) -> torch.Tensor:
    best = learner.q_values(batch.next_observations).argmax(dim=1)
    values = learner.forward(learner.target_network, batch.next_observations).detach()
    return batch.returns + batch.discounts * torch.stack([v[a] for v, a in zip(values, best, strict=True)])


def test_double_q_is_the_default_target() -> None:
    for double in (True, False):
        learner = make("dqn", probe_environment(lambda: TwoChoices(2), 2), double=double, target_every=10**6)
        for _ in range(8):
            learner.iteration()
        batch = learner.replay.sample(64)
        single = batch.returns + batch.discounts * learner.forward(
            learner.target_network, batch.next_observations
        ).detach().amax(dim=1)
        found = learner.targets(batch)
        torch.testing.assert_close(found, double_q_by_hand(learner, batch) if double else single)


def test_rainbow_without_dueling_and_noise_is_the_c51_network() -> None:
    encoder = build_encoder("mlp", observation_shape=(3,), input_scale=1.0)
    plain = RainbowSettings(dueling=False, noisy=False)
    rainbow = ALGORITHMS["rainbow"].build.build_network(plain, encoder, 4)
    c51 = ALGORITHMS["c51"].build.build_network(C51Settings(), encoder, 4)
    shapes = [sorted(tuple(p.shape) for p in network.parameters()) for network in (rainbow, c51)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (DQNSettings, {"num_envs": 0}, ["num_envs", "0", "1 or more"]),
        (DQNSettings, {"replay_size": 1}, ["replay_size", "1", "2 or more"]),
        (DQNSettings, {"train_every": 0}, ["train_every", "0", "1 or more"]),
        (DQNSettings, {"learning_rate": float("nan")}, ["learning_rate", "nan", "above 0"]),
        (DQNSettings, {"epsilon_end": 1.5}, ["epsilon_end", "1.5", "0 to 1"]),
        (C51Settings, {"num_atoms": 1}, ["num_atoms", "1", "2 or more"]),
        (C51Settings, {"v_min": 3.0, "v_max": 3.0}, ["v_min", "3.0", "v_max"]),
        (C51Settings, {"v_max": float("inf")}, ["v_max", "inf", "finite"]),
        (RainbowSettings, {"n_step": 0}, ["n_step", "0", "1 or more"]),
        (RainbowSettings, {"noise": 0.0}, ["noise", "0.0", "above 0"]),
        (RainbowSettings, {"priority_exponent": -1.0}, ["priority_exponent", "-1.0", "0 to 1"]),
    ],
)
def test_invalid_settings_raise_a_one_line_error(kind: Any, settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        kind(**settings)
    assert all(word in str(caught.value) for word in words)
