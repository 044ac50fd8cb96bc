"""A trained network that plays, independent of environment, optimizer and settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hadamax.functional import epsilon_greedy, sample_actions


class Agent:
    """A network with its precision. `frame` is the number of frames it was trained for.

    `action_names` are the environment's, in the order of the actions.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device,
        precision: torch.dtype,
        frame: int,
        takes_bytes: bool = False,
        action_names: tuple[str, ...] = (),
    ) -> None:
        network = network.to(device).eval()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device, self.precision, self.frame, self.takes_bytes = device, precision, frame, takes_bytes
        self.action_names = action_names
        self.score_name = str(getattr(network, "score_name", "Q-value"))

    @torch.no_grad()
    def q_values(self, observations: Any) -> Tensor:
        """Return scores [B, action], float32, on the CPU; the best action has the highest. `score_name` is their kind.

        Args:
            observations: [B, *observation_shape], array or tensor, in the type that the environment gives.

        Raises:
            ValueError, TypeError: observations of another shape or type.
        """
        if not isinstance(observations, Tensor):  # copied if torch cannot share the memory
            try:
                observations = torch.from_numpy(np.require(observations, requirements=("C", "W")))
            except (TypeError, ValueError):
                kind = type(observations).__name__
                raise TypeError(f"observations must be an array or a tensor of numbers, not {kind}") from None
        if self.takes_bytes and observations.dtype != torch.uint8:  # scaled observations would be scaled again
            raise TypeError(f"observations must be uint8, 0 to 255, as the game gives them, not {observations.dtype}")
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            q: Tensor = self.network(observations.to(self.device))
        return q.float().cpu()

    def act(
        self, observations: Any, epsilon: float = 0.0, generator: torch.Generator | None = None, *, sample: bool = False
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the best action for each observation, or a random one with probability `epsilon`.

        Args:
            observations: [B, *observation_shape], array or tensor.
            sample: draw the action from the policy, in place of the likeliest.

        Returns:
            [B] int64.

        Raises:
            ValueError: `sample` of an agent that has no policy to draw from.
        """
        if sample and not self.has_policy:
            raise ValueError(f"sample: actions cannot be drawn from a {self.score_name}; expected agents with a policy")
        q = self.q_values(observations)
        if sample:
            q = torch.nn.functional.one_hot(sample_actions(q, generator), q.shape[1]).float()
        actions: np.ndarray[Any, np.dtype[np.int64]]
        actions = epsilon_greedy(q, torch.full(q.shape[:1], epsilon), generator).numpy()
        return actions

    @property
    def has_policy(self) -> bool:
        """True if actions can be sampled."""
        return self.score_name == "log-probability"
