"""Atari, MinAtar and Gymnasium environments with one vector interface."""

from hadamax.environments.engine import Engine, EngineStep
from hadamax.environments.settings import EnvironmentSettings, make_environment, make_groups
from hadamax.environments.vector import EnvironmentGroups, Environments, Game, Step, VectorEnvironment

__all__ = [
    "Engine",
    "EngineStep",
    "EnvironmentGroups",
    "EnvironmentSettings",
    "Environments",
    "Game",
    "Step",
    "VectorEnvironment",
    "make_environment",
    "make_groups",
]
