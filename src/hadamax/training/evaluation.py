"""Evaluation: whole games, each environment playing exactly one, so that short games are not over-represented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.environments.engine import Array
from hadamax.environments.settings import ATARI
from hadamax.student import half_width
from hadamax.training.published import published_scores

Policy = Callable[[Array], Array]  # observations [B, ...] -> actions [B]
PUBLISHED_LIMIT = int(ATARI["max_episode_frames"])  # of the games that random and human scores are of


class Played(NamedTuple):
    """A game to its end, or as far as a limit let it go."""

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
    """Play `games` whole games side by side.

    Args:
        finished: called when a game ends, for progress.

    Returns:
        The games in the order of their environments; a game that a limit cut counts as it stands.
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


def summary(games: Sequence[Played], game: str, frames_per_step: int, limit: int | None = None) -> dict[str, Any]:
    """Mean, spread and Student's 95% interval of raw returns, human-normalised too where scores are published.

    Args:
        limit: emulator frames after which a game is cut. A game that one below the published games' has cut is not
            what those scores are of, and nothing is normalised.
    """
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
        "cut": sum(g.cut for g in games),
        "returns": returns.tolist(),
    }
    published = published_scores(game)
    if published and not (result["cut"] and limit is not None and limit < PUBLISHED_LIMIT):
        low, human = published
        normalised = (returns - low) / (human - low)
        result["human_normalised_mean"] = float(normalised.mean())
        result["human_normalised_sd"] = float(normalised.std(ddof=1)) if n > 1 else 0.0
    return result


def games_said(report: dict[str, Any]) -> str:
    """How many games an evaluation's report is of, and how many of them its limit cut."""
    number, limit = report["episodes"], report.get("max_episode_frames")
    results = [report["agent"], *report.get("baselines", {}).values()]
    counts = [result.get("cut") for result in results]  # None in the first reports, which did not say
    cut, total = sum(count or 0 for count in counts), number * len(results)
    whole = "whole " if not limit or counts == [0] * len(counts) else ""
    said = f"{number} {whole}game{'' if number == 1 else 's'}{' each' if len(results) > 1 else ''}"
    if cut:
        which = "" if total == 1 else "all " if cut == total else f"{cut} of {total} "
        return f"{said}, {which}cut at {limit:,} frames"
    return f"{said}, limit {limit:,} frames" if limit else f"{said}, uncut"


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
