"""Rollout: the last `num_steps` steps of a batch of environments, on the learner's device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


class Rollout:
    """Storage for `num_steps` steps of `num_envs` environments, allocated once and overwritten.

    `next_values` are [T, E, *value_shape]: a number, or one for each member of an ensemble.

    Observations are kept in the type that the environment gives (uint8 for images) and cross to the device once.
    """

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        device: torch.device,
        *,
        value_shape: tuple[int, ...] = (),
    ) -> None:
        size = (num_steps, num_envs)
        kind = torch.from_numpy(np.zeros(0, dtype)).dtype
        self.observations = torch.zeros((*size, *shape), dtype=kind, device=device)
        self.actions = torch.zeros(size, dtype=torch.int64, device=device)
        self.rewards = torch.zeros(size, device=device)
        self.next_values = torch.zeros((*size, *value_shape), device=device)
        self.terminated = torch.zeros(size, dtype=torch.bool, device=device)
        self.truncated = torch.zeros(size, dtype=torch.bool, device=device)
        self.agent_acted = torch.zeros(size, dtype=torch.bool, device=device)

    def minibatches(self, number: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield all [T x E] rows once, shuffled, as `number` index tensors of equal length."""
        rows = self.actions.numel()
        order = torch.randperm(rows, generator=generator, device=self.actions.device)
        yield from order.view(number, rows // number)


class PolicyRollout(Rollout):
    """Rollout with the values [T, E] and log-probabilities [T, E] computed while acting."""

    def __init__(
        self, num_steps: int, num_envs: int, shape: tuple[int, ...], dtype: np.dtype, device: torch.device
    ) -> None:
        super().__init__(num_steps, num_envs, shape, dtype, device)
        self.values, self.log_probs = torch.zeros((2, num_steps, num_envs), device=device)
