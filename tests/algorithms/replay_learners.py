"""Small DQN, C51 and Rainbow learners."""

from __future__ import annotations

from typing import Any

import torch

from hadamax.algorithms import ALGORITHMS
from hadamax.algorithms.common.replay_learner import ReplayLearner
from hadamax.clock import Clock
from hadamax.environments import VectorEnvironment
from hadamax.networks import build_encoder

SMALL = {"replay_size": 400, "learning_starts": 50, "iteration_steps": 32, "target_every": 100, "train_every": 4}
# Each improvement of Rainbow alone, none, and all.
SWITCHES = ("double", "prioritised", "dueling", "noisy", "distributional")
PLAIN = {**dict.fromkeys(SWITCHES, False), "n_step": 1}
ABLATIONS: dict[str, dict[str, Any]] = {
    "none": PLAIN,
    **{name: {**PLAIN, name: True} for name in SWITCHES},
    "n_step": {**PLAIN, "n_step": 3},
    "all": {},
}


def make(
    algorithm: str,
    environment: VectorEnvironment,
    *,
    encoder: str = "mlp",
    encoder_options: dict[str, Any] | None = None,
    decay_steps: int = 1000,
    seed: int = 0,
    reward_clipping: bool = False,
    precision: torch.dtype = torch.float32,
    **settings: Any,
) -> ReplayLearner:
    """Build a CPU learner and start its games."""
    entry = ALGORITHMS[algorithm]
    torch.manual_seed(seed)
    shape, scale = environment.observation_shape, environment.input_scale
    learner: ReplayLearner = entry.build(
        entry.settings(**{**SMALL, "num_envs": environment.num_envs, **settings}),
        environment,
        build_encoder(encoder, observation_shape=shape, input_scale=scale, **(encoder_options or {})),
        decay_frames=decay_steps * environment.frames_per_step,
        reward_clipping=reward_clipping,
        device=torch.device("cpu"),
        precision=precision,
        seed=seed,
        clock=Clock(),
    )
    learner.reset()
    return learner
