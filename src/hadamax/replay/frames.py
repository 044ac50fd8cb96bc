"""Frames of a replay, each stored once; stacked observations are assembled when drawn."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray


class Frames:
    """A ring of `length` frames for each environment, on a given device.

    A stacked observation [stack, *frame] is its newest frame and the frames before it in the ring, up to the start of
    its game; earlier planes repeat the first frame or are zero. An observation that is not stacked is one frame. Slots
    are flat: environment * length + position.
    """

    def __init__(
        self,
        num_envs: int,
        length: int,
        observation_shape: tuple[int, ...],
        dtype: np.dtype,
        *,
        stack: int,
        repeat_first_frame: bool,
        device: torch.device,
    ) -> None:
        self.length, self.stack, self.repeats = length, stack, repeat_first_frame
        self.shape = observation_shape[1:] if stack > 1 else observation_shape
        self.observation_shape, self.device = observation_shape, device
        self.dtype = torch.from_numpy(np.zeros(0, dtype)).dtype
        self.bytes_per_frame = self.bytes_of(observation_shape, dtype, stack)
        size = (num_envs * length, *self.shape)
        if device.type == "cpu":
            self.data = torch.from_numpy(np.zeros(size, dtype))  # memory is allocated page by page as it fills
        else:
            self.data = torch.zeros(size, dtype=self.dtype, device=device)
        self._array = (
            self.data.numpy() if device.type == "cpu" else None
        )  # shares memory; NumPy has less overhead per call
        self.ages = np.zeros(num_envs * length, np.int16)
        self._backs = np.arange(stack - 1, -1, -1)
        self._batches: dict[tuple[int, ...], Tensor] = {}

    @staticmethod
    def bytes_of(observation_shape: tuple[int, ...], dtype: np.dtype, stack: int) -> int:
        """Return the bytes of one frame."""
        return math.prod(observation_shape[1:] if stack > 1 else observation_shape) * dtype.itemsize

    def newest(self, observations: Array) -> Array:
        """Return the newest frames [k, *frame] of observations [k, *observation_shape]."""
        return observations[:, -1] if self.stack > 1 else observations

    def put(self, slots: Array, observations: Array, ages: Array) -> None:
        """Store the newest frames of observations [k, ...]; `ages` are the steps since their games began."""
        self.ages[slots] = np.minimum(ages, self.stack - 1)
        frames = self.newest(observations)
        if self._array is not None:
            self._array[slots] = frames
        else:
            self.data[torch.from_numpy(slots)] = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device)

    def observations(self, slots: Array) -> Tensor:
        """Return observations [k, *observation_shape] of slots [k]; the next call of the same size overwrites them."""
        if self.stack == 1:
            return self._gather(slots, (len(slots),))
        found = self._gather(self._stacks(slots), (len(slots), self.stack))
        return self._without(found, slots)

    def pairs(self, slots: Array, steps: Array, distance: int) -> tuple[Tensor, Tensor]:
        """Return the observations of slots [k] and of those `steps` [k] later in the same game.

        `distance` is the maximum of `steps`. Pairs at that distance share frames, which are fetched once. Where `steps`
        is 0, the second observation has no meaning, but is deterministic. Both are overwritten by the next call.
        """
        positions = slots % self.length
        first = (slots - positions)[:, None]
        if self.stack == 1 or distance > self.stack:
            later = first[:, 0] + (positions + steps) % self.length
            both = self.observations(np.concatenate([slots, later]))
            return both[: len(slots)], both[len(slots) :]
        ahead = np.minimum(np.arange(1, distance + 1), steps[:, None])
        following = first + (positions[:, None] + ahead) % self.length
        planes = np.concatenate([self._stacks(slots), following], axis=1)
        found = self._gather(planes, planes.shape)
        now, later_ones = self._without(found[:, : self.stack], slots), found[:, distance:]
        (cut,) = np.nonzero((steps > 0) & (steps < distance))
        if cut.size:
            later_ones = later_ones.clone()  # the shared frames would be overwritten
            later_ones[torch.from_numpy(cut).to(self.device)] = self.observations(following[cut, -1])
        return now, later_ones

    def _stacks(self, slots: Array) -> Array:
        """Return the slots [k, stack] of the frames of observations, oldest first."""
        positions = slots % self.length
        backs = np.minimum(self._backs, self.ages[slots][:, None])
        stacks: Array = (positions[:, None] - backs) % self.length + (slots - positions)[:, None]
        return stacks

    def _without(self, observations: Tensor, slots: Array) -> Tensor:
        """Replace repetitions of a game's first frame by zeros, if stacks start with zeros."""
        if not self.repeats and (missing := self._backs > self.ages[slots][:, None]).any():
            observations[torch.from_numpy(missing).to(self.device)] = 0
        return observations

    def read(self, slots: Array) -> Array:
        """Return single frames as bytes: [k, bytes_per_frame] uint8."""
        found = self.data[torch.from_numpy(slots)].cpu().contiguous()
        return found.view(len(slots), -1).view(torch.uint8).numpy()

    def write(self, slots: Array, frames: Array) -> None:
        """Store single frames given as bytes: [k, bytes_per_frame] uint8."""
        found = torch.from_numpy(frames.copy()).view(self.dtype).view(len(slots), *self.shape)
        self.data[torch.from_numpy(slots)] = found.to(self.device)

    def _gather(self, slots: Array, shape: tuple[int, ...]) -> Tensor:
        # Reused, since page faults of a new buffer would double the cost.
        if shape not in self._batches:
            self._batches[shape] = torch.empty((*shape, *self.shape), dtype=self.dtype, device=self.device)
        index = torch.from_numpy(slots.reshape(-1)).to(self.device)
        torch.index_select(self.data, 0, index, out=self._batches[shape].view(-1, *self.shape))
        return self._batches[shape]
