"""DQN, C51 and Rainbow bit for bit: the same seed repeats, and a resumed learner equals an uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.algorithms.replay_learners import make

from hadamax.algorithms.common.replay_learner import ReplayLearner
from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.runs import checkpoints

pytestmark = pytest.mark.end_to_end


def learner(algorithm: str, precision: torch.dtype = torch.float32, seed: int = 1) -> ReplayLearner:
    """Build a learner on small sticky Breakout with a replay that wraps around, short games and frequent reseeding."""
    settings = EnvironmentSettings("Breakout", sticky_actions=0.25, max_episode_frames=48, screen_size=44)
    environment = make_environment(settings, 2, seed=seed, threads=1)
    environment.engine.reseed_steps = 40
    return make(
        algorithm,
        environment,
        encoder="nature",
        encoder_options={"width": 0.125},
        seed=seed,
        precision=precision,
        replay_size=80,
        batch_size=4,
        learning_starts=16,
        target_every=24,
        iteration_steps=16,
        decay_steps=200,
        learning_rate=1e-3,
    )


def everything(found: ReplayLearner) -> dict[str, Any]:
    captured = checkpoints.capture(found.frames, found.state_dict(), {})
    tensors, numbers = checkpoints._flatten({"network": captured.weights, **captured.state})
    return {**tensors, **numbers}


def assert_same(first: ReplayLearner, second: ReplayLearner) -> None:
    one, other = everything(first), everything(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[name])), name


def run(found: ReplayLearner, iterations: int) -> list[Any]:
    return [found.iteration() for _ in range(iterations)]


# Iterations of 16 agent steps before the checkpoint; the target network is copied every 24 steps.
PHASES = {
    "before the first step": 0,
    "before the first update": 1,
    "before the replay is full": 2,
    "at a target copy": 3,
    "after the replay wrapped around": 9,
}


LAST_PHASE = list(PHASES)[-1]
CASES = [
    *(("dqn", torch.float32, phase) for phase in PHASES),
    *(("rainbow", torch.float32, phase) for phase in PHASES),
    ("dqn", torch.bfloat16, LAST_PHASE),
    ("c51", torch.float32, LAST_PHASE),
]
# The storage, and so most of what is resumed, is the same as in the cases above.
REST = [(*kind, phase) for kind in (("dqn", torch.bfloat16), ("c51", torch.float32)) for phase in list(PHASES)[:-1]]


@pytest.mark.parametrize(
    ("algorithm", "precision", "phase"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in REST)]
)
def test_resumed_learner_equals_uninterrupted_one(
    algorithm: str, precision: torch.dtype, phase: str, tmp_path: Path
) -> None:
    whole = learner(algorithm, precision)
    for _ in range(PHASES[phase]):
        run(whole, 1)
        path = checkpoints.write(tmp_path, checkpoints.capture(whole.frames, whole.state_dict(), {}))
    if phase == "before the first step":
        path = checkpoints.write(tmp_path, checkpoints.capture(whole.frames, whole.state_dict(), {}))
    assert (whole.updates == 0) == phase.startswith("before the first")
    assert (whole.replay.heads.min() > 1.2 * whole.replay.length) == phase.startswith("after")
    expected = run(whole, 3)
    found = checkpoints.read(path)
    resumed = learner(algorithm, precision)
    run(resumed, 1)  # loading a state replaces whatever the learner held
    resumed.load_state_dict({"network": found.weights, **found.state})
    assert resumed.frames == found.frame
    assert run(resumed, 3) == expected
    assert_same(resumed, whole)
    assert any(iteration.games for iteration in expected)


@pytest.mark.parametrize("algorithm", ["dqn", "c51", "rainbow"])
def test_resumes_a_checkpoint_without_optimizer_state(algorithm: str, tmp_path: Path) -> None:
    """Older checkpoints, written before the first update, lack the key."""
    whole, resumed = learner(algorithm), learner(algorithm)
    run(whole, 1)
    found = checkpoints.read(checkpoints.write(tmp_path, checkpoints.capture(whole.frames, whole.state_dict(), {})))
    assert found.state.pop("optimizer") == {}
    resumed.load_state_dict({"network": found.weights, **found.state})
    assert run(resumed, 3) == run(whole, 3)
    assert_same(resumed, whole)


@pytest.mark.parametrize("algorithm", ["dqn", "rainbow"])
def test_same_seed_repeats_and_another_differs(algorithm: str) -> None:
    first, second, other = learner(algorithm), learner(algorithm), learner(algorithm, seed=2)
    assert run(first, 3) == run(second, 3)
    assert_same(first, second)
    run(other, 3)
    with pytest.raises(AssertionError):
        assert_same(first, other)


def test_saving_does_not_change_training() -> None:
    watched, left_alone = learner("rainbow"), learner("rainbow")
    for _ in range(3):
        run(watched, 1)
        watched.state_dict()
    run(left_alone, 3)
    assert_same(watched, left_alone)
