"""Published raw scores of a random player and of a human, game by game (source: `data/random_human.md`)."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources


@cache
def random_human() -> dict[str, tuple[float, float]]:
    """Every game that has published scores: {"Pong": (random, human), ...}."""
    text = resources.files("hadamax.data").joinpath("random_human.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["game"]: (float(row["random"]), float(row["human"])) for row in rows}


def published_scores(game: str) -> tuple[float, float] | None:
    """(random, human) of a game by its plain name, `Pong`; None where nothing is published."""
    return random_human().get(game)
