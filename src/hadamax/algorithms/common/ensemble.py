"""Bootstrapped ensemble of heads: one member acts in each game. Osband et al. 2016, arXiv 1602.04621."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hadamax.functional import vote


class Ensemble:
    """The acting member of each training environment, redrawn when a game starts.

    With a single member nothing is drawn or saved.
    """

    def __init__(self, members: int, num_envs: int, generator: torch.Generator) -> None:
        self.members, self.generator = members, generator
        self.acting = torch.zeros(num_envs, dtype=torch.int64, device=generator.device)

    def begin_games(self, environments: Tensor) -> None:
        """Draw the acting members of these environments, [k] int64."""
        if self.members > 1:
            device, number = self.acting.device, len(environments)
            drawn = torch.randint(self.members, (number,), generator=self.generator, device=device)
            self.acting[environments.to(device)] = drawn

    def act(self, values: Tensor, rows: slice) -> Tensor:
        """Return the scores to act on, [env, action]: the acting member's Q-values; in test environments, the vote.

        Args:
            values: [env, member, action].
            rows: the numbers of the training environments, which come first.
        """
        if self.members == 1:
            return values.squeeze(1)
        acting = self.acting[rows]
        own = values[torch.arange(len(acting), device=values.device), acting]
        return torch.cat([own, vote(values[len(acting) :])])

    def masks(self, shape: tuple[int, ...], probability: float) -> Tensor:
        """Return masks [*shape, member] of 0 and 1: whether a member learns from a row; all 1 at probability 1."""
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
