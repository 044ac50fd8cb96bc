"""Published raw scores of a random player and of a human, game by game (source: `data/random_human.md`)."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources
from typing import NamedTuple


@cache
def random_human() -> dict[str, tuple[float, float]]:
    """Return the published scores of every game that has them: {"Pong": (random, human), ...}."""
    text = resources.files("hadamax.data").joinpath("random_human.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["game"]: (float(row["random"]), float(row["human"])) for row in rows}


def random_and_human(game: str) -> tuple[float, float] | None:
    """Return (random, human) of a game by its plain name, `Pong`; None if unpublished."""
    return random_human().get(game)


class Subset(NamedTuple):
    """Games whose weighted scores estimate the 57-game median (Aitchison et al. 2022, arXiv 2210.02019)."""

    weights: dict[str, float]
    relative_error: float  # of the estimate, as the source states it: 0.1 is 10%


def read_table(name: str) -> list[dict[str, str]]:
    """Return the rows of a table in `hadamax/data`."""
    text = resources.files("hadamax.data").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def atari_subsets() -> dict[str, Subset]:
    """Return the subsets by name: `Atari-1`, `-3`, `-5`, `-10`, and the validation sets."""
    subsets: dict[str, Subset] = {}
    for row in read_table("atari_subsets.csv"):
        error = float(row["rel_error_pct"]) / 100
        subsets.setdefault(row["subset"], Subset({}, error)).weights[row["game"]] = float(row["weight"])
    return subsets


@cache
def published_agents() -> dict[str, dict[str, float]]:
    """Return raw scores of other agents by game: {"rainbow": {"Alien": 9491.7, ...}, ...}."""
    agents: dict[str, dict[str, float]] = {}
    for row in read_table("published_scores.csv"):
        agents.setdefault(row["algo"], {})[row["game"]] = float(row["score"])
    return agents
