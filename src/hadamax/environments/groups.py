"""Groups of environments that are stepped in alternation: while one steps, the network acts for the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hadamax.environments.engine import Array
from hadamax.environments.vector import VectorEnvironment


class EnvironmentGroups:
    """Several `VectorEnvironment` of the same kind, numbered consecutively, with one state.

    The games equal those of a single `VectorEnvironment` with the same seed and actions.
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
        RuntimeError: the number of groups differs, or a replayed game differs from the saved one.
        """
        names = [f"group_{i}" for i in range(len(self.groups))]
        if sorted(state) != sorted(names):
            raise RuntimeError(f"the saved games do not have {len(names)} groups")
        return np.concatenate(
            [group.load_state_dict(state[name]) for name, group in zip(names, self.groups, strict=True)]
        )


Environments = VectorEnvironment | EnvironmentGroups  # what a learner steps
