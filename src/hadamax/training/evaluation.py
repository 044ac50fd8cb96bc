"""Evaluation: whole games, each environment playing exactly one, so that short games are not over-represented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hadamax.environments import EnvironmentSettings, Game, make_environment
from hadamax.environments.engine import Array
from hadamax.student import half_width
from hadamax.training.published import published_scores

Policy = Callable[[Array], Array]  # observations [B, ...] -> actions [B]


def play(
    policy: Policy,
    settings: EnvironmentSettings,
    games: int,
    *,
    seed: int,
    threads: int = 0,
    finished: Callable[[], None] = lambda: None,
) -> list[Game]:
    """Play `games` whole games side by side.

    Args:
        finished: called when a game ends, for progress.

    Returns:
        The games in the order of their environments; a game that a limit cut counts as it stands.
    """
    environment = make_environment(settings, games, seed=seed, threads=threads)
    observations = environment.reset()
    done: dict[int, Game] = {}
    playing = np.ones(games, bool)
    actions = np.zeros(games, np.int64)
    while playing.any():
        actions[playing] = policy(observations[playing])
        step = environment.step(actions)
        observations = step.observations
        for game in step.games:
            if playing[game.env]:
                done[game.env] = game
                playing[game.env] = False
                finished()
    return [done[env] for env in range(games)]


def summary(games: Sequence[Game], game: str, frames_per_step: int) -> dict[str, Any]:
    """Mean, spread and Student's 95% interval of raw returns, human-normalised too where scores are published."""
    returns = np.array([g.raw_return for g in games])
    n = len(returns)
    sd = float(returns.std(ddof=1)) if n > 1 else 0.0
    mean, half = float(returns.mean()), float(half_width(returns))
    result: dict[str, Any] = {
        "mean": mean,
        "ci95": [mean - half, mean + half] if n > 1 else None,
        "sd": sd,
        "median": float(np.median(returns)),
        "distinct_games": len({(g.raw_return, g.steps) for g in games}),
        "mean_length_frames": float(np.mean([g.steps for g in games])) * frames_per_step,
        "returns": returns.tolist(),
    }
    published = published_scores(game)
    if published:
        low, human = published
        normalised = (returns - low) / (human - low)
        result["human_normalised_mean"] = float(normalised.mean())
        result["human_normalised_sd"] = float(normalised.std(ddof=1)) if n > 1 else 0.0
    return result


def random_policy(num_actions: int, seed: int) -> Policy:
    """Every action equally likely."""
    generator = np.random.default_rng(seed)
    return lambda observations: generator.integers(0, num_actions, len(observations))


def constant_policy(action: int) -> Policy:
    """The same action at every step."""
    return lambda observations: np.full(len(observations), action)


def capped(settings: EnvironmentSettings, max_episode_frames: int | None) -> EnvironmentSettings:
    """The same protocol with games cut at `max_episode_frames`."""
    return settings if max_episode_frames is None else replace(settings, max_episode_frames=max_episode_frames)


def best_constant(results: dict[str, dict[str, Any]]) -> str | None:
    """The name of the constant action with the highest mean."""
    constants = [name for name in results if name.startswith("always ")]
    return max(constants, key=lambda name: results[name]["mean"], default=None)
