"""The algorithms, one readable file each; what they share is in `common/`, and the run loop in `hadamax.runs`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from hadamax.algorithms import dqn, pqn
from hadamax.algorithms.c51 import C51, C51Settings
from hadamax.algorithms.common.learner import Activity, Algorithm, FinishedGame, Iteration
from hadamax.algorithms.dqn import DQN, DQNSettings
from hadamax.algorithms.ppo import PPO, PPOSettings
from hadamax.algorithms.pqn import PQN, PQNSettings
from hadamax.algorithms.rainbow import Rainbow, RainbowSettings


class Entry(NamedTuple):
    """An algorithm by name: its settings, its class, and settings of any group by the name of their preset."""

    settings: type[Any]
    build: type[Any]
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


ALGORITHMS: dict[str, Entry] = {
    "pqn": Entry(PQNSettings, PQN, pqn.PRESETS),
    "dqn": Entry(DQNSettings, DQN, dqn.PRESETS),
    "c51": Entry(C51Settings, C51),
    "ppo": Entry(PPOSettings, PPO),
    "rainbow": Entry(RainbowSettings, Rainbow),
}

__all__ = ["ALGORITHMS", "Activity", "Algorithm", "Entry", "FinishedGame", "Iteration"]
