"""Play games with a policy, for scores of whole games or for observations to measure a network on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hadamax.environments.engine import Array
from hadamax.environments.settings import EnvironmentSettings, make_environment

Policy = Callable[[Array], Array]  # observations [B, ...] -> actions [B]

GAMES = 16  # played in parallel
STRIDE = 4  # steps between kept observations, since consecutive ones are almost equal


class Played(NamedTuple):
    """A finished game; `cut` if a limit truncated it."""

    env: int
    raw_return: float
    steps: int
    cut: bool = False


def play(
    policy: Policy,
    settings: EnvironmentSettings,
    games: int,
    *,
    seed: int,
    threads: int = 0,
    finished: Callable[[], None] = lambda: None,
) -> list[Played]:
    """Play `games` whole games in parallel, one per environment.

    Args:
        finished: called when a game ends, for progress.

    Returns:
        The games in the order of their environments; a truncated game keeps its return so far.
    """
    environment = make_environment(settings, games, seed=seed, threads=threads)
    observations = environment.reset()
    done: dict[int, Played] = {}
    playing = np.ones(games, bool)
    actions = np.zeros(games, np.int64)
    while playing.any():
        actions[playing] = policy(observations[playing])
        step = environment.step(actions)
        observations = step.observations
        for game in step.games:
            if playing[game.env]:
                done[game.env] = Played(*game, cut=bool(step.truncated[game.env]))
                playing[game.env] = False
                finished()
    return [done[env] for env in range(games)]


def play_observations(policy: Policy, settings: EnvironmentSettings, count: int, *, seed: int, threads: int) -> Array:
    """Return `count` observations [count, *observation_shape] of games played by `policy`, deterministic by seed."""
    environment = make_environment(settings, GAMES, seed=seed, threads=threads)
    observations = environment.reset()
    kept = [observations.copy()]
    while len(kept) * GAMES < count:
        for _ in range(STRIDE):
            observations = environment.step(policy(observations)).observations
        kept.append(observations.copy())
    return np.concatenate(kept)[:count]


def random_policy(num_actions: int, seed: int) -> Policy:
    """Return a policy that draws actions uniformly."""
    generator = np.random.default_rng(seed)
    return lambda observations: generator.integers(0, num_actions, len(observations))


def constant_policy(action: int) -> Policy:
    """Return a policy that always takes the same action."""
    return lambda observations: np.full(len(observations), action)
