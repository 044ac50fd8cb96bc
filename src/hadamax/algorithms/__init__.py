"""The algorithms, one file each; what a file leaves out is written once, in `training/`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from hadamax.algorithms.contract import Activity, Algorithm, FinishedGame, Iteration
from hadamax.algorithms.ppo import PPO, PPOSettings
from hadamax.algorithms.pqn import PQN, PRESETS, PQNSettings


class Entry(NamedTuple):
    """An algorithm by name: its settings, its class, and settings of any group by the name of their preset."""

    settings: type[Any]
    build: type[Any]
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


ALGORITHMS: dict[str, Entry] = {
    "ppo": Entry(PPOSettings, PPO),
    "pqn": Entry(PQNSettings, PQN, PRESETS),
}

__all__ = ["ALGORITHMS", "Activity", "Algorithm", "Entry", "FinishedGame", "Iteration"]
