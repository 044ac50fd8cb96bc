"""Summaries of evaluation games: scores, intervals, human-normalised scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hadamax.confidence import ci95_half_width
from hadamax.environments import EnvironmentSettings
from hadamax.environments.play import Played
from hadamax.environments.settings import ATARI
from hadamax.published import random_and_human

PUBLISHED_LIMIT = int(ATARI["max_episode_frames"])  # of the published random and human scores


def summary(games: Sequence[Played], game: str, frames_per_step: int, limit: int | None = None) -> dict[str, Any]:
    """Mean, spread and Student's 95% interval of raw returns, also human-normalised if scores are published.

    Args:
        limit: emulator frames after which a game is cut. If a limit below that of the published scores has cut a
            game, scores are not normalised.
    """
    returns = np.array([g.raw_return for g in games])
    n = len(returns)
    sd = float(returns.std(ddof=1)) if n > 1 else 0.0
    mean, half = float(returns.mean()), float(ci95_half_width(returns))
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
    published = random_and_human(game)
    if published and not (result["cut"] and limit is not None and limit < PUBLISHED_LIMIT):
        low, human = published
        normalised = (returns - low) / (human - low)
        result["human_normalised_mean"] = float(normalised.mean())
        result["human_normalised_sd"] = float(normalised.std(ddof=1)) if n > 1 else 0.0
    return result


def games_said(report: dict[str, Any]) -> str:
    """Describe the number of games of a report and how many of them were truncated."""
    number, limit = report["episodes"], report.get("max_episode_frames")
    results = [report["agent"], *report.get("baselines", {}).values()]
    counts = [result.get("cut") for result in results]  # None in early reports
    cut, total = sum(count or 0 for count in counts), number * len(results)
    whole = "whole " if not limit or counts == [0] * len(counts) else ""
    said = f"{number} {whole}game{'' if number == 1 else 's'}{' each' if len(results) > 1 else ''}"
    if cut:
        which = "" if total == 1 else "all " if cut == total else f"{cut} of {total} "
        return f"{said}, {which}cut at {limit:,} frames"
    return f"{said}, limit {limit:,} frames" if limit else f"{said}, uncut"


def capped(settings: EnvironmentSettings, max_episode_frames: int | None) -> EnvironmentSettings:
    """Return the protocol with games truncated at `max_episode_frames`."""
    return settings if max_episode_frames is None else replace(settings, max_episode_frames=max_episode_frames)


def best_constant(results: dict[str, dict[str, Any]]) -> str | None:
    """Return the name of the constant action with the highest mean."""
    constants = [name for name in results if name.startswith("always ")]
    return max(constants, key=lambda name: results[name]["mean"], default=None)
