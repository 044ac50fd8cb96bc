"""Observations to measure a network on, played apart from the run's own games."""

from __future__ import annotations

import numpy as np

from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.environments.engine import Array
from hadamax.training.evaluation import Policy

GAMES = 16  # side by side
STRIDE = 4  # steps between observations that are kept: neighbours are almost alike


def play_observations(policy: Policy, settings: EnvironmentSettings, count: int, *, seed: int, threads: int) -> Array:
    """`count` observations [count, *observation_shape] of games that `policy` plays; the same ones for one seed."""
    environment = make_environment(settings, GAMES, seed=seed, threads=threads)
    observations = environment.reset()
    kept = [observations.copy()]
    while len(kept) * GAMES < count:
        for _ in range(STRIDE):
            observations = environment.step(policy(observations)).observations
        kept.append(observations.copy())
    return np.concatenate(kept)[:count]
