"""Learners of several environment groups: they store what one group stores, and resume exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tests.algorithms.test_pqn_repeats import assert_same, run
from tests.probes import ScriptedEngine, TwoChoices, make_learner, random_events

from hadamax.algorithms import ALGORITHMS
from hadamax.environments import EnvironmentGroups, EnvironmentSettings, VectorEnvironment, make_groups
from hadamax.environments.gymnasium import GymnasiumEngine
from hadamax.errors import UserError
from hadamax.runs import checkpoints
from hadamax.runs.settings import NetworkSettings, RunSettings, TrainSettings
from hadamax.runs.setup import training_environment

HEADS: dict[str, dict[str, Any]] = {
    "pqn": {"algorithm": "pqn"},
    "ensemble": {"algorithm": "pqn", "ensemble": 3},
    "ppo": {"algorithm": "ppo"},
}
SIZES = {"num_steps": 6, "num_minibatches": 2, "num_test_envs": 2}


class Turns(ScriptedEngine):
    """Log each `send` and `receive`."""

    log: ClassVar[list[tuple[str, int]]] = []

    def send(self, actions: Any) -> None:
        self.log.append(("send", self.num_envs))
        self.sent = actions

    def receive(self) -> Any:
        self.log.append(("receive", self.num_envs))
        return self.step(self.sent)


def learner(*sizes: int, **settings: Any) -> Any:
    """Build a learner with groups of these sizes; the last two environments are test environments."""
    firsts = [sum(sizes[:i]) for i in range(len(sizes))]
    made = [
        VectorEnvironment(Turns(random_events, n), seed=3, life_loss_terminal=True, fire_after_life_loss=True, first=f)
        for n, f in zip(sizes, firsts, strict=True)
    ]
    return make_learner(made[0] if len(made) == 1 else EnvironmentGroups(made), **{**SIZES, **settings})


@pytest.mark.parametrize("sizes", [(4, 3), (3, 2, 2), (5, 2), (6, 1)], ids=str)
def test_groups_store_the_same_rollout_as_one_group(sizes: tuple[int, ...]) -> None:
    """Act greedily, so nothing is drawn. With (5, 2) and (6, 1) the last group holds test environments."""
    whole, groups = (learner(*s, epsilon_start=0.0, epsilon_end=0.0) for s in ((7,), sizes))
    for _ in range(3):
        expected, got = whole.iteration(), groups.iteration()
        assert expected.games == got.games
        for name, value in vars(whole.rollout).items():
            torch.testing.assert_close(getattr(groups.rollout, name), value, msg=name)
        groups.network.load_state_dict(whole.network.state_dict())
    assert expected.games


def test_groups_alternate_between_acting_and_stepping() -> None:
    Turns.log.clear()
    learner(4, 3).collect()
    begun = [("send", 4), ("send", 3)]
    turn = [("receive", 4), ("send", 4), ("receive", 3), ("send", 3)]
    assert Turns.log == [*begun, *turn * 5, ("receive", 4), ("receive", 3)]


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.end_to_end
def test_resumed_learner_equals_uninterrupted_one(name: str, tmp_path: Path) -> None:
    def atari() -> Any:
        settings = EnvironmentSettings("Breakout", sticky_actions=0.25, max_episode_frames=60, screen_size=44)
        environment = make_groups(settings, 5, 2, seed=1, threads=1)
        for group in environment.groups:
            group.engine.reseed_steps = 10
        return make_learner(
            environment,
            encoder="nature-norm",
            encoder_options={"width": 0.125},
            reward_clipping=True,
            **SIZES,
            **HEADS[name],
        )

    whole = atari()
    run(whole, 3)
    path = checkpoints.write(tmp_path, checkpoints.capture(whole.frames, whole.state_dict(), {}))
    expected = run(whole, 3)
    assert any(iteration.games for iteration in expected)
    found = checkpoints.read(path)
    resumed = atari()
    resumed.load_state_dict({"network": found.weights, **found.state})
    assert run(resumed, 3) == expected
    assert_same(resumed, whole)


@pytest.mark.end_to_end
def test_groups_learn_known_values() -> None:
    gamma = 0.7
    made = [VectorEnvironment(GymnasiumEngine(lambda: TwoChoices(2), 8), seed=0, first=first) for first in (0, 8)]
    learning = {"num_steps": 8, "num_minibatches": 2, "learning_rate": 5e-3, "epsilon_end": 1.0, "q_lambda": 0.0}
    learner = make_learner(EnvironmentGroups(made), decay_iterations=110, gamma=gamma, **learning)
    run(learner, 110)
    expected = torch.tensor([[gamma, 2 * gamma], [1.0, 0.0], [-1.0, 2.0]])
    torch.testing.assert_close(learner.q_values(torch.eye(3)), expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("algorithm", ["pqn", "ppo"])
@pytest.mark.parametrize(("device", "num_envs", "expected"), [("cpu", 8, 1), ("cuda", 8, 2), ("cuda:1", 1, 1)])
def test_default_is_two_groups_on_a_gpu_and_one_on_a_cpu(
    algorithm: str, device: str, num_envs: int, expected: int
) -> None:
    own = ALGORITHMS[algorithm].settings(num_envs=num_envs, num_test_envs=0)
    given = TrainSettings(RunSettings(device=device), EnvironmentSettings("CartPole-v1"), NetworkSettings(), own)
    assert len(training_environment(algorithm, given).groups) == expected
    fixed = replace(given, algorithm=replace(own, env_groups=num_envs))
    assert len(training_environment(algorithm, fixed).groups) == num_envs
    with pytest.raises(UserError, match=f"env_groups: {num_envs + 1} is out of range"):
        replace(own, env_groups=num_envs + 1)
