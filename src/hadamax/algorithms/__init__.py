"""The algorithms, one file each; what a file leaves out is written once, in `training/`."""

from __future__ import annotations

from typing import Any, NamedTuple

from hadamax.algorithms.contract import Activity, Algorithm, FinishedGame, Iteration
from hadamax.algorithms.pqn import PQN, PQNSettings


class Entry(NamedTuple):
    """An algorithm by name: its settings and its class."""

    settings: type[Any]
    build: type[Any]


ALGORITHMS: dict[str, Entry] = {
    "pqn": Entry(PQNSettings, PQN),
}

__all__ = ["ALGORITHMS", "Activity", "Algorithm", "Entry", "FinishedGame", "Iteration"]
