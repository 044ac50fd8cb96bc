"""Collecting ahead: the same as acting, in turn, with the weights of one iteration before; and exact across a kill."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.algorithms.test_pqn_repeats import assert_same, run
from tests.probes import TwoChoices, Wheel, make_learner, probe_environment

from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.runs import checkpoints

HEADS: dict[str, dict[str, Any]] = {
    "pqn": {"algorithm": "pqn"},
    "ensemble": {"algorithm": "pqn", "ensemble": 3, "mask_probability": 0.5},
    "ppo": {"algorithm": "ppo"},
}


def atari(name: str, *, overlap: bool = True) -> Any:
    """Sticky Breakout at tiny scale; its games are cut short and reseeded often."""
    settings = EnvironmentSettings("Breakout", sticky_actions=0.25, max_episode_frames=24, screen_size=44)
    environment = make_environment(settings, 3, seed=1, threads=1)
    environment.engine.reseed_steps = 10
    sizes = {"num_steps": 4, "num_epochs": 1, "num_minibatches": 2, "num_test_envs": 1}
    learner = make_learner(
        environment, encoder="nature-norm", reward_clipping=True, overlap=overlap, **sizes, **HEADS[name]
    )
    return learner


@pytest.mark.parametrize("name", HEADS)
def test_it_equals_acting_in_turn_with_the_weights_of_one_iteration_before(name: str) -> None:
    overlapped, learner = atari(name), atari(name, overlap=False)
    acting_generator = overlapped.ahead.actor.generator.get_state()  # as the games begin
    learner.generator.set_state(overlapped.generator.get_state())
    if name == "ensemble":  # who acts first was drawn already
        learner.ensemble.acting.copy_(overlapped.ahead.actor.ensemble.acting)
    stale = copy.deepcopy(learner.network.state_dict())
    for iteration in range(5):
        fresh = copy.deepcopy(learner.network.state_dict())
        learning_generator = learner.generator.get_state()
        learner.network.load_state_dict(stale)
        learner.generator.set_state(acting_generator)
        learner.games = []
        learner.collect()
        acting_generator = learner.generator.get_state()
        learner.generator.set_state(learning_generator)
        learner.network.load_state_dict(fresh)
        metrics = learner.update(learner.advantages() if name == "ppo" else learner.targets())
        learner.iterations += 1
        stale = fresh
        got = overlapped.iteration()
        assert got.games == learner.games
        assert {key: got.metrics[key] for key in metrics} == metrics, iteration
    for name, weight in learner.network.state_dict().items():
        assert torch.equal(weight, overlapped.network.state_dict()[name]), name


@pytest.mark.parametrize("done", [1, 3])
@pytest.mark.parametrize("name", HEADS)
def test_a_resumed_learner_equals_one_that_was_never_stopped(name: str, done: int, tmp_path: Path) -> None:
    whole = atari(name)
    run(whole, done)
    path = checkpoints.write(tmp_path, checkpoints.capture(whole.frames, whole.state_dict(), {}))
    expected = run(whole, 4)
    assert any(iteration.games for iteration in expected)
    found = checkpoints.read(path)
    resumed = atari(name)
    run(resumed, 2)  # a state is loaded over whatever was there, and over a rollout in the making
    resumed.load_state_dict({"network": found.weights, **found.state})
    assert resumed.frames == found.frame
    assert run(resumed, 4) == expected
    assert_same(resumed, whole)


def test_it_learns() -> None:
    gamma = 0.7
    environment = probe_environment(lambda: TwoChoices(2), 16)
    learning = {"num_steps": 8, "num_minibatches": 2, "learning_rate": 5e-3, "epsilon_end": 1.0, "q_lambda": 0.0}
    learner = make_learner(environment, decay_iterations=110, gamma=gamma, overlap=True, **learning)
    run(learner, 110)
    expected = torch.tensor([[gamma, 2 * gamma], [1.0, 0.0], [-1.0, 2.0]])
    torch.testing.assert_close(learner.q_values(torch.eye(3)), expected, atol=0.05, rtol=0)


def test_what_collecting_meets_reaches_the_run() -> None:
    learner = make_learner(probe_environment(lambda: Wheel(2), 4), num_steps=4, num_minibatches=2, overlap=True)
    run(learner, 1)

    def broken(actions: Any) -> Any:
        raise RuntimeError("the emulator broke")

    learner.environment.send = broken
    with pytest.raises(RuntimeError, match="the emulator broke"):
        run(learner, 3)
