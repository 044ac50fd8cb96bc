"""Atari, MinAtar and Gymnasium behind one vector contract."""

from hadamax.environments.settings import EnvironmentSettings, make_environment
from hadamax.environments.vector import Engine, EngineStep, Game, Step, VectorEnvironment

__all__ = [
    "Engine",
    "EngineStep",
    "EnvironmentSettings",
    "Game",
    "Step",
    "VectorEnvironment",
    "make_environment",
]
