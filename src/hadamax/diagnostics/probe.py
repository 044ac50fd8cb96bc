"""A probe: hangs on the layers of any network, keeps a bounded sample of what they give, leaves no trace.

with Probe(network) as probe:
    network(observations)
for sample in probe.samples():
    print(sample.layer, dead_neurons(sample.activations).float().mean())
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hadamax.diagnostics.reservoir import Reservoir
from hadamax.diagnostics.selection import UNBOUNDED, Layered, Layers, Range, output_range, select, unwrapped

POSITIONS = 16  # of one map that may be among the samples of a convolution's channels
MOST_MAP_NUMBERS = 2**24  # of a layer's maps kept whole: fewer maps of a larger size
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
OVER_TIME = (nn.Conv1d, nn.ConvTranspose1d)


class NotMeasurable(TypeError):
    """A layer's output is nothing that can be measured."""


class Sample(NamedTuple):
    """What a layer gave."""

    layer: str  # as in `named_modules()`; " (call 2)" behind it where a module is used more than once in a pass
    part: str  # "output", or the name of something inside: "branch 1", "branch 2", "product"
    activations: Tensor  # [samples, units]; a convolution's units are its channels, its samples positions
    maps: Tensor | None  # [map samples, channels * positions] of a convolution
    range: Range  # where the values lie

    @property
    def name(self) -> str:
        """Layer and part in one."""
        return self.layer if self.part == "output" else f"{self.layer} {self.part}"


class Probe:
    """Records the outputs of chosen layers while attached, in training too; gradients and outputs are not touched.

    A layer of width d takes samples x d numbers of memory. Kept are numbers of the type that the layer gives
    (bfloat16 under autocast), on its device. Which ones are kept depends on `seed` and on the sizes of the batches
    alone, so that all parts of a layer show the same observations. While a probe is attached, compiled modules run
    uncompiled, in the whole process: a compiled graph does not see hooks that came after it.

    Args:
        network: any module, compiled or not. Where a module is called several times in a pass, its calls are told
            apart if the pass is one of `network` as a whole.
        layers: names, patterns, types: see `select`; all hidden layers unless given.
        samples: most rows kept of a layer.
        map_samples: most maps of a convolution that are kept whole.

    Raises:
        ValueError: a layer that is not there, with what there is; or fewer than 2 samples.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Layers | None = None,
        *,
        samples: int = 2048,
        map_samples: int = 512,
        seed: int = 0,
    ) -> None:
        for name, value in (("samples", samples), ("map_samples", map_samples)):
            if value < 2:
                raise ValueError(f"{name} {value} is too small; valid: 2 or more")
        self.network, self.layers = network, select(network, layers)
        self._capacity, self._map_capacity, self._seed = samples, map_samples, seed
        self._attached: ExitStack | None = None
        self.clear()

    # -- on and off ---------------------------------------------------------------------------------------------------

    def attach(self) -> Probe:
        """Begin to record. Raises RuntimeError if it is attached already."""
        if self._attached is not None:
            raise RuntimeError("the probe is attached already")
        root = unwrapped(self.network)
        with ExitStack() as stack:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.callback(root.register_forward_pre_hook(self._begin).remove)
            telling = [module for module in root.modules() if isinstance(module, (*OVER_TIME, nn.Linear, nn.RNNBase))]
            if any(isinstance(module, OVER_TIME) for module in telling):
                for teller in telling:
                    stack.callback(teller.register_forward_hook(self._note_channels).remove)
            for name, module in self.layers.items():
                stack.callback(module.register_forward_hook(self._recorder(name), with_kwargs=True).remove)
            stack.callback(root.register_forward_hook(self._end, always_call=True).remove)
            self._attached = stack.pop_all()
        return self

    def detach(self) -> None:
        """Stop recording and take every hook off; what was recorded stays."""
        if self._attached is not None:
            self._attached.close()
            self._attached = None

    def __enter__(self) -> Probe:
        return self.attach()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()

    # -- what was seen ------------------------------------------------------------------------------------------------

    def samples(self) -> list[Sample]:
        """What was recorded, layer by layer in the order of their first call.

        Raises:
            ValueError: none of the layers was called.
        """
        if not self._records:
            raise ValueError(f"no layer of {', '.join(self.layers)} was called while the probe was attached")
        return [record.sample(*key) for key, record in self._records.items()]

    def clear(self) -> None:
        """Forget what was recorded, and begin as if nothing had been."""
        self._records: dict[tuple[str, str], _Record] = {}
        self._calls: Counter[str] | None = None
        self._channels: int | None = None

    # -- hooks --------------------------------------------------------------------------------------------------------

    def _begin(self, module: nn.Module, inputs: Any) -> None:
        self._calls = Counter()

    def _end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._calls = None

    def _note_channels(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """What tells [batch, channels, time] after a convolution from [batch, time, units] after a linear layer."""
        self._channels = module.out_channels if isinstance(module, OVER_TIME) else None

    def _recorder(self, name: str) -> Callable[[nn.Module, Any, dict[str, Any], Any], None]:
        @torch.no_grad()
        def record(module: nn.Module, inputs: Any, how: dict[str, Any], output: Any) -> None:
            layer = self._call(name)
            if isinstance(module, Layered):
                for part, (values, range_) in module.inner_activations(*inputs, **how).items():
                    self._record(layer, part, module, values, range_)
            self._record(layer, "output", module, output, output_range(module))

        return record

    def _call(self, name: str) -> str:
        if self._calls is None:  # the layer is called by itself, not in a pass of the network
            return name
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name} (call {self._calls[name]})"

    def _record(self, layer: str, part: str, module: nn.Module, output: Any, range_: Range) -> None:
        values = _first_tensor(layer, output)
        record = self._records.get((layer, part))
        if record is None:
            # Inside a layer, before its pool, maps are much larger than what the next layer sees: none is kept whole.
            maps = self._map_capacity if part == "output" else 0
            record = self._records[layer, part] = _Record(self._capacity, maps, self._seed, range_)
        over_time = values.ndim == 3 and values.shape[1] == self._channels
        record.add(values.detach(), isinstance(module, CONVOLUTIONS) or over_time)


def sample_of(
    layer: str, batches: Iterable[Tensor], range_: Range = UNBOUNDED, *, samples: int = 2048, map_samples: int = 512
) -> Sample:
    """A `Sample` of activations that no probe could see, another framework's say: [N, units] or [N, channels, ...].

    Raises:
        ValueError: no rows.
    """
    record = _Record(samples, map_samples, 0, range_)
    for values in batches:
        record.add(values, convolution=True)
    return record.sample(layer, "output")


class _Record:
    """The reservoirs of one part of a layer."""

    def __init__(self, capacity: int, map_capacity: int, seed: int, range_: Range) -> None:
        self.range, self._map_capacity, self._seed = range_, map_capacity, seed
        self._rows = Reservoir(capacity, seed)
        self._maps: Reservoir | None = None
        self._map_shape: tuple[int, ...] = ()
        self._places = np.random.default_rng([seed, 1])

    def add(self, values: Tensor, convolution: bool) -> None:
        if values.ndim > 3 or (values.ndim == 3 and convolution):
            self._add_maps(values)
        elif values.ndim:
            rows = values.reshape(-1, values.shape[-1])  # [batch, units], or [batch, time, units]
            self._rows.offer(len(rows), lambda chosen: rows[chosen.to(rows.device)])

    def _add_maps(self, values: Tensor) -> None:
        """[batch, channels, ...]: some positions of each map as rows, and some maps whole."""
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
        if self._maps is not None and self._map_shape != values.shape[1:]:  # maps of several sizes have no rank
            self._map_capacity, self._maps = 0, None
            return
        self._map_shape = values.shape[1:]
        if self._maps is None:
            capacity = min(self._map_capacity, MOST_MAP_NUMBERS // max(channels * places, 1))
            self._maps = Reservoir(max(capacity, 2), self._seed)
        self._maps.offer(batch, lambda chosen: values[chosen.to(values.device)])

    def sample(self, layer: str, part: str) -> Sample:
        rows = self._rows.rows
        if rows is None:
            raise ValueError(f"layer {layer}: it gave no rows to measure")
        maps = self._maps.rows if self._maps is not None else None
        return Sample(layer, part, rows, None if maps is None else maps.flatten(1), self.range)


def _first_tensor(layer: str, output: Any) -> Tensor:
    """The output, or the first of several. Raises NotMeasurable where that is no tensor of floating-point numbers."""
    first = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(first, Tensor) or not first.is_floating_point():
        raise NotMeasurable(f"layer {layer}: its output is not a tensor of floating-point numbers; choose other layers")
    return first
