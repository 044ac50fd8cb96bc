"""PQN bit for bit: the same seed repeats, and a resumed learner equals an uninterrupted one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.probes import Wheel, make_learner, probe_environment

from hadamax.algorithms.pqn import PQN
from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.runs import checkpoints

pytestmark = pytest.mark.end_to_end

ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "nature-norm": ("nature-norm", {"width": 0.125}),
    "nature-norm at full width": ("nature-norm", {}),
    "nature": ("nature", {"width": 0.125}),
    "hadamax": ("hadamax", {"width": 0.125}),
    "hr": ("nature-norm", {"width": 0.125, "activation": "tanh", "branches": 2}),
}


def atari(precision: torch.dtype = torch.float32, seed: int = 1, network: str = "nature-norm") -> PQN:
    """Build PQN on small sticky Breakout with short games and frequent reseeding."""
    settings = EnvironmentSettings("Breakout", sticky_actions=0.25, max_episode_frames=60, screen_size=44)
    environment = make_environment(settings, 3, seed=seed, threads=1)
    environment.engine.reseed_steps = 10
    encoder, options = ENCODERS[network]
    return make_learner(
        environment,
        encoder=encoder,
        encoder_options=options,
        precision=precision,
        seed=seed,
        reward_clipping=True,
        num_steps=4,
        num_epochs=1,
        num_minibatches=2,
        num_test_envs=1,
        learning_rate=1e-3,
    )


def wheel(seed: int = 1) -> PQN:
    return make_learner(probe_environment(lambda: Wheel(2), 4, seed), seed=seed, num_steps=4, num_minibatches=2)


def everything(learner: PQN) -> dict[str, Any]:
    """Return a flat copy of the state, as a checkpoint holds it."""
    state = learner.state_dict()
    captured = checkpoints.capture(learner.frames, state, {})
    tensors, numbers = checkpoints._flatten({"network": captured.weights, **captured.state})
    return {**tensors, **numbers}


def assert_same(first: PQN, second: PQN) -> None:
    one, other = everything(first), everything(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[name])), name


def run(learner: PQN, iterations: int) -> list[Any]:
    return [learner.iteration() for _ in range(iterations)]


@pytest.mark.parametrize("make", [atari, wheel])
def test_same_seed_repeats_and_another_differs(make: Any) -> None:
    first, second, other = make(), make(), make(seed=2)
    assert run(first, 4) == run(second, 4)
    run(other, 4)
    assert_same(first, second)
    weights = [learner.network.head.weight for learner in (first, other)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize(
    ("network", "precision", "iterations", "threads"),
    [
        *((network, torch.float32, 5, 1) for network in ("nature-norm", "nature", "hadamax", "hr")),
        ("nature-norm", torch.bfloat16, 5, 1),
        ("nature-norm", torch.float32, 0, 1),
        # Large enough for PyTorch to split sums over two threads.
        pytest.param("nature-norm at full width", torch.float32, 5, 2, marks=pytest.mark.slow),
    ],
)
def test_resumed_learner_equals_uninterrupted_one(
    network: str, precision: torch.dtype, iterations: int, threads: int, tmp_path: Any
) -> None:
    torch.set_num_threads(threads)
    whole = atari(precision, network=network)
    run(whole, iterations)
    path = checkpoints.write(tmp_path, checkpoints.capture(whole.frames, whole.state_dict(), {}))
    expected = run(whole, 4)
    found = checkpoints.read(path)
    resumed = atari(precision, seed=1, network=network)
    run(resumed, 1)  # loading replaces the state of a learner in use
    resumed.load_state_dict({"network": found.weights, **found.state})
    assert resumed.frames == found.frame
    assert run(resumed, 4) == expected
    assert_same(resumed, whole)
    assert any(iteration.games for iteration in expected)
    assert all(math.isfinite(iteration.metrics["loss"]) for iteration in expected)
    assert int(whole.environment.state_dict()["seed_count"].max()) > 1


def test_saving_does_not_change_training() -> None:
    watched, left_alone = atari(), atari()
    for _ in range(3):
        run(watched, 1)
        watched.state_dict()
    run(left_alone, 3)
    assert_same(watched, left_alone)


def test_captured_state_does_not_follow_training() -> None:
    learner = wheel()
    run(learner, 2)
    state = everything(learner)
    copies = {name: torch.as_tensor(value).clone() for name, value in state.items()}
    run(learner, 3)
    for name, value in state.items():
        assert torch.equal(torch.as_tensor(value), copies[name]), name
    assert not np.array_equal(learner.network.head.weight.detach(), copies["network/head.weight"])
