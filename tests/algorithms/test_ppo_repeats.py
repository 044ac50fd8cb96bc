"""PPO on Breakout at small scale: it repeats from a seed and resumes exactly with three kinds of encoder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.algorithms.test_pqn_repeats import assert_same, run
from tests.probes import TwoChoices, make_learner, probe_environment

from hadamax.algorithms.ppo import PPO, PPOSettings
from hadamax.clock import Clock
from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.networks import build_encoder
from hadamax.runs import checkpoints

pytestmark = pytest.mark.end_to_end

ENCODERS: dict[str, dict[str, Any]] = {
    "nature": {"encoder": "nature", "width": 0.125},
    "hadamax": {"encoder": "hadamax", "width": 0.125},
    "hr": {"encoder": "nature", "width": 0.125, "activation": "tanh", "branches": 2, "layers": "last"},
}


def atari(name: str = "hr", seed: int = 1, precision: torch.dtype = torch.float32) -> PPO:
    """Build PPO on sticky Breakout with short games, frequent reseeding and ReDo."""
    settings = EnvironmentSettings("Breakout", sticky_actions=0.25, max_episode_frames=48, screen_size=44)
    environment = make_environment(settings, 3, seed=seed, threads=1)
    environment.engine.reseed_steps = 10
    torch.manual_seed(seed)
    varied = dict(ENCODERS[name])
    encoder = build_encoder(varied.pop("encoder"), observation_shape=environment.observation_shape, **varied)
    sizes = {"num_envs": 2, "num_test_envs": 1, "num_steps": 8, "num_epochs": 1, "num_minibatches": 2}
    learner = PPO(
        PPOSettings(**sizes, redo_every=128),
        environment,
        encoder,
        decay_frames=10**4,
        reward_clipping=True,
        device=torch.device("cpu"),
        precision=precision,
        seed=seed,
        clock=Clock(),
    )
    learner.reset()
    return learner


@pytest.mark.parametrize(
    ("name", "iterations"),
    [("nature", 3), ("hadamax", 3), ("hr", 3), ("hr", 0), ("hr", 2)],  # units are reset every 2 iterations
)
def test_resumed_learner_equals_uninterrupted_one(name: str, iterations: int, tmp_path: Path) -> None:
    whole = atari(name)
    first = run(whole, iterations)
    path = checkpoints.write(tmp_path, checkpoints.capture(whole.frames, whole.state_dict(), {}))
    expected = run(whole, 6 - iterations)
    assert all(math.isfinite(value) for iteration in [*first, *expected] for value in iteration.metrics.values())
    games = [game for iteration in [*first, *expected] for game in iteration.games]
    assert {game.env for game in games} == {0, 1, 2}  # 12 steps a game
    assert whole.frames == 6 * 2 * 8 * 4
    found = checkpoints.read(path)
    resumed = atari(name)
    run(resumed, 1)
    resumed.load_state_dict({"network": found.weights, **found.state})
    assert run(resumed, 6 - iterations) == expected
    assert_same(resumed, whole)  # type: ignore[arg-type]
    assert int(whole.environment.state_dict()["seed_count"].max()) > 1


def test_bfloat16_losses_are_finite() -> None:
    metrics = run(atari("hr", precision=torch.bfloat16), 1)[-1].metrics
    assert all(math.isfinite(value) for value in metrics.values())


def test_same_seed_repeats_and_another_differs() -> None:
    def probe(seed: int) -> Any:
        environment = probe_environment(lambda: TwoChoices(2), 4, seed)
        return make_learner(environment, algorithm="ppo", seed=seed, num_steps=8, num_minibatches=2)

    first, second, other = probe(1), probe(1), probe(2)
    assert run(first, 4) == run(second, 4)
    run(other, 4)
    assert_same(first, second)
    assert not torch.equal(first.network.policy.weight, other.network.policy.weight)
