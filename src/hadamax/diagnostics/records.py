"""Recorded activations of a layer: a bounded sample of rows, and of whole maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hadamax.diagnostics.selection import UNBOUNDED, Range

POSITIONS = 16  # positions of one map among the samples of a convolution's channels
MOST_MAP_NUMBERS = 2**24  # numbers in a layer's whole maps: fewer maps are kept if they are larger


class NotMeasurable(TypeError):
    """The output of a layer cannot be measured."""


class Sample(NamedTuple):
    """Recorded activations of one part of a layer."""

    layer: str  # as in `named_modules()`, followed by " (call 2)" for the second call in one pass
    part: str  # "output", or the name of an inner activation: "branch 1", "branch 2", "product"
    activations: Tensor  # [samples, units]; for a convolution units are channels and samples are positions
    maps: Tensor | None  # [map samples, channels * positions] of a convolution
    range: Range  # lower and upper bound of the values

    @property
    def name(self) -> str:
        """Layer and part as one string."""
        return self.layer if self.part == "output" else f"{self.layer} {self.part}"


def sample_of(
    layer: str, batches: Iterable[Tensor], range_: Range = UNBOUNDED, *, samples: int = 2048, map_samples: int = 512
) -> Sample:
    """Build a `Sample` from activations that a probe cannot record, for example another framework's.

    `batches` are [N, units] or [N, channels, ...].

    Raises:
        ValueError: there are no rows.
    """
    record = Record(samples, map_samples, 0, range_)
    for values in batches:
        record.add(values, min(1 - values.ndim, -1))
    return record.sample(layer, "output")


class Record:
    """Reservoirs of rows and maps of one part of a layer."""

    def __init__(self, capacity: int, map_capacity: int, seed: int, range_: Range) -> None:
        self.range, self._map_capacity, self._seed = range_, map_capacity, seed
        self._rows = Reservoir(capacity, seed)
        self._maps: Reservoir | None = None
        self._map_shape: tuple[int, ...] = ()
        self._places = np.random.default_rng([seed, 1])

    def add(self, values: Tensor, axis: int) -> None:
        """Add an output whose units are along `axis`, counted from the end; the axes before it are samples."""
        shape = values.shape
        if axis == -1:
            rows = values.reshape(-1, shape[-1])
            self._rows.offer(len(rows), lambda chosen: rows[chosen.to(rows.device)])
        else:
            several = values.ndim + axis != 1
            self._add_maps(values.reshape(math.prod(shape[:axis]), *shape[axis:]) if several else values)

    def _add_maps(self, values: Tensor) -> None:
        """Add maps [batch, channels, ...]: some positions of each map as rows, and some maps whole."""
        batch, channels, *size = values.shape
        places = math.prod(size)
        each = min(places, POSITIONS)
        starts = self._places.integers(0, places, batch)[:, None]
        positions = torch.from_numpy((starts + np.arange(each) * (places // each)) % places)  # [batch, each]

        def rows(chosen: Tensor) -> Tensor:
            where = np.unravel_index(positions.flatten()[chosen].numpy(), size)
            index = [torch.from_numpy(axis).to(values.device) for axis in where]
            taken: Tensor = values.movedim(1, -1)[(chosen.to(values.device) // each, *index)]
            return taken

        self._rows.offer(batch * each, rows)
        if not self._map_capacity:
            return
        if self._maps is not None and self._map_shape != values.shape[1:]:  # no common rank if map sizes differ
            self._map_capacity, self._maps = 0, None
            return
        self._map_shape = values.shape[1:]
        if self._maps is None:
            capacity = min(self._map_capacity, MOST_MAP_NUMBERS // max(channels * places, 1))
            self._maps = Reservoir(max(capacity, 2), self._seed)
        self._maps.offer(batch, lambda chosen: values[chosen.to(values.device)])

    def sample(self, layer: str, part: str) -> Sample:
        """Return what was recorded. Raises ValueError if there are no rows."""
        rows = self._rows.rows
        if rows is None:
            raise ValueError(f"layer {layer}: its outputs had no rows")
        maps = self._maps.rows if self._maps is not None else None
        return Sample(layer, part, rows, None if maps is None else maps.flatten(1), self.range)


def measurable(layer: str, output: Any) -> Tensor:
    """Return the output, or the first of several, without padded entries: [...] with at least one axis.

    Raises:
        NotMeasurable: it is not a tensor of floating-point numbers, or the layer runs inside a torch.func transform.
    """
    first = output
    while isinstance(first, tuple | list | Mapping) and first:  # the first item of a PackedSequence is its rows
        first = next(iter(first.values())) if isinstance(first, Mapping) else first[0]
    if not isinstance(first, Tensor) or not first.is_floating_point() or (not first.is_nested and first.ndim == 0):
        raise NotMeasurable(f"layer {layer}: its output is not a tensor of floating-point numbers; choose other layers")
    if torch._C._functorch.is_functorch_wrapped_tensor(first):
        raise NotMeasurable(f"layer {layer}: it runs inside a transform of torch.func (vmap, grad); probe it outside")
    if first.is_nested:
        return torch.cat([part.reshape(-1, part.shape[-1]) for part in first.unbind()])
    return first


class Reservoir:
    """Uniform sample of `capacity` rows from all rows offered.

    Vitter's algorithm R, applied to batches. Kept rows are copies, with the dtype and on the device of the first batch.
    Reservoirs with the same seed and the same batch sizes keep the same rows.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity, self.offered = capacity, 0
        self._random = np.random.default_rng(seed)
        self._rows: Tensor | None = None

    @property
    def rows(self) -> Tensor | None:
        """Copy of the kept rows, [up to capacity, ...]; None before the first offer."""
        return None if self._rows is None else self._rows[: min(self.offered, self.capacity)].clone()

    def offer(self, number: int, take: Callable[[Tensor], Tensor]) -> None:
        """Offer the next `number` rows; `take` returns those at an index [k] int64, all of one shape."""
        sources, slots = self._choose(number)
        if len(sources):
            rows = take(torch.from_numpy(sources))
            if self._rows is None:
                with torch.inference_mode(False):  # a pass with gradients may follow one of inference
                    self._rows = torch.empty((self.capacity, *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
            self._rows[torch.from_numpy(slots).to(self._rows.device)] = rows.to(self._rows)

    def _choose(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Choose which of the next rows are kept, and their slots; the last row assigned to a slot wins."""
        order = np.arange(self.offered, self.offered + number)
        slots = np.where(order < self.capacity, order, self._random.integers(0, order + 1))
        self.offered += number
        (sources,) = np.nonzero(slots < self.capacity)
        # Reversed, because np.unique returns the first occurrence.
        _, first = np.unique(slots[sources][::-1], return_index=True)
        sources = np.sort(sources[::-1][first])
        return sources, slots[sources]
