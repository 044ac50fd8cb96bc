"""Which member of a bootstrapped ensemble acts where. Osband et al. 2016, arXiv 1602.04621."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hadamax.functional import vote


class Ensemble:
    """One member for each of the environments that are learned from, drawn anew when a game starts.

    With one member nothing is drawn and nothing kept.
    """

    def __init__(self, members: int, num_envs: int, generator: torch.Generator) -> None:
        self.members, self.generator = members, generator
        self.acting = torch.zeros(num_envs, dtype=torch.int64, device=generator.device)

    def begin_games(self, environments: Tensor) -> None:
        """Draw who acts in these environments: [k] int64."""
        if self.members > 1:
            device, number = self.acting.device, len(environments)
            drawn = torch.randint(self.members, (number,), generator=self.generator, device=device)
            self.acting[environments.to(device)] = drawn

    def act(self, values: Tensor, rows: slice) -> Tensor:
        """What is acted on, [env, action]: the drawn member's Q-values, and the vote in environments past those.

        Args:
            values: [env, member, action].
            rows: which environments the first ones are.
        """
        if self.members == 1:
            return values.squeeze(1)
        acting = self.acting[rows]
        own = values[torch.arange(len(acting), device=values.device), acting]
        return torch.cat([own, vote(values[len(acting) :])])

    def masks(self, shape: tuple[int, ...], probability: float) -> Tensor:
        """Which members learn from which rows, [*shape, member] of 0 and 1; all of them at probability 1."""
        size, device = (*shape, self.members), self.acting.device
        if probability == 1:
            return torch.ones(size, device=device)
        return (torch.rand(size, generator=self.generator, device=device) < probability).float()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.members == 1 else {"acting": self.acting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.members > 1:
            acting = torch.as_tensor(state["acting"])
            if acting.shape != self.acting.shape or not ((acting >= 0) & (acting < self.members)).all():
                raise RuntimeError(f"the acting members are not {len(self.acting)} of {self.members}")
            self.acting.copy_(acting)
