"""Environments in groups that are stepped in turn: while one group plays, its caller acts for the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hadamax.environments.engine import Array
from hadamax.environments.vector import VectorEnvironment


class EnvironmentGroups:
    """Several `VectorEnvironment` of one kind, numbered through: what a learner and a checkpoint ask of all of them.

    The games are those that one environment of the same seed would play for the same actions.
    """

    def __init__(self, groups: Sequence[VectorEnvironment]) -> None:
        self.groups = tuple(groups)
        first = self.groups[0]
        self.num_envs = sum(group.num_envs for group in self.groups)
        self.observation_shape = first.observation_shape
        self.observation_dtype = first.observation_dtype
        self.action_names = first.action_names
        self.num_actions = first.num_actions
        self.frames_per_step = first.frames_per_step
        self.input_scale = first.input_scale

    @property
    def observations(self) -> Array:
        """[env, *observation_shape] of all groups."""
        return np.concatenate([group.observations for group in self.groups])

    def reset(self) -> Array:
        """Start every game: observations [env, *observation_shape]."""
        return np.concatenate([group.reset() for group in self.groups])

    def state_dict(self) -> dict[str, Any]:
        return {f"group_{i}": group.state_dict() for i, group in enumerate(self.groups)}

    def load_state_dict(self, state: Mapping[str, Any]) -> Array:
        """Raises:
        RuntimeError: the games are of other groups, or did not come out as they were.
        """
        names = [f"group_{i}" for i in range(len(self.groups))]
        if sorted(state) != sorted(names):
            raise RuntimeError(f"the saved games are not of {len(names)} groups")
        return np.concatenate(
            [group.load_state_dict(state[name]) for name, group in zip(names, self.groups, strict=True)]
        )


Environments = VectorEnvironment | EnvironmentGroups  # what a learner may be given
