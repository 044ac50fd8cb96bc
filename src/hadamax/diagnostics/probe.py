"""A probe: hangs on the layers of any network, keeps a bounded sample of what they give, leaves no trace.

with Probe(network) as probe:
    network(observations)
for sample in probe.samples():
    print(sample.layer, dead_neurons(sample.activations).float().mean())
"""

from __future__ import annotations

import weakref
from collections import Counter
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import nn

from hadamax.diagnostics.axes import RECURRENT, Told, told, unit_axis
from hadamax.diagnostics.hooks import Hook, uncompiled
from hadamax.diagnostics.records import NotMeasurable, Record, Sample, measurable
from hadamax.diagnostics.selection import Layered, Layers, Range, output_range, select, tellers, units_last, unwrapped


class Probe:
    """Records the outputs of chosen layers while attached, in training too; gradients and outputs are not touched.

    A layer of width d takes samples x d numbers of memory. Kept are numbers of the type that the layer gives
    (bfloat16 under autocast), on its device. Which ones are kept depends on `seed` and on the sizes of the batches
    alone, so that all parts of a layer show the same observations. While a probe is attached, compiled modules run
    uncompiled, in the whole process: a compiled graph does not see hooks that came after it (a stance of your own,
    `torch.compiler.set_stance`, has to stand around it). Copies and pickles of the network are not watched: they carry
    hooks that do nothing. A probe that nobody holds any longer detaches itself.

    Args:
        network: any module, compiled or not. Where a module is called several times in a pass, its calls are told
            apart if the pass is one of `network` as a whole; those of a recurrent layer count as one.
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
        self._units_last = units_last(unwrapped(network))
        self._capacity, self._map_capacity, self._seed = samples, map_samples, seed
        self._detach: weakref.finalize[[], Probe] | None = None
        self.clear()

    # -- on and off ---------------------------------------------------------------------------------------------------

    def attach(self) -> Probe:
        """Begin to record. Raises RuntimeError if it is attached already."""
        if self._detach is not None:
            raise RuntimeError("the probe is attached already")
        root = unwrapped(self.network)
        with ExitStack() as stack:
            stack.enter_context(uncompiled())
            stack.callback(root.register_forward_pre_hook(Hook(self, Probe._begin)).remove)
            for module in set(tellers(root)):
                stack.callback(module.register_forward_hook(Hook(self, Probe._listen)).remove)
            for name, module in self.layers.items():
                hook = Hook(self, partial(Probe._see, name=name))
                stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            stack.callback(root.register_forward_hook(Hook(self, Probe._end), always_call=True).remove)
            self._detach = weakref.finalize(self, stack.pop_all().close)
            self._detach.atexit = False
        return self

    def detach(self) -> None:
        """Stop recording and take every hook off; what was recorded stays."""
        if self._detach is not None:
            self._detach()
            self._detach = None

    def __enter__(self) -> Probe:
        return self.attach()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()

    # -- what was seen ------------------------------------------------------------------------------------------------

    def samples(self) -> list[Sample]:
        """What was recorded, layer by layer in the order of their first call.

        Raises:
            ValueError: none of the layers was called.
            TypeError: a layer gave nothing that can be measured.
        """
        if self._refusal is not None:
            raise self._refusal
        if not self._records:
            raise ValueError(f"no layer of {', '.join(self.layers)} was called while the probe was attached")
        widths: Counter[tuple[str, str]] = Counter()
        found = []
        for (layer, part, units), record in self._records.items():
            widths[layer, part] += 1
            found.append(record.sample(layer if widths[layer, part] == 1 else f"{layer} ({units} units)", part))
        return found

    def clear(self) -> None:
        """Forget what was recorded, and begin as if nothing had been."""
        self._records: dict[tuple[str, str, int], Record] = {}  # by layer, part and number of units
        self._refusal: NotMeasurable | None = None
        self._calls: Counter[str] | None = None
        self._told: Told | None = None

    # -- hooks --------------------------------------------------------------------------------------------------------

    def _begin(self, module: nn.Module, inputs: Any) -> None:
        self._calls, self._told = Counter(), None

    def _end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._calls = None

    def _listen(self, module: nn.Module, inputs: Any, output: Any) -> None:
        try:
            self._told = told(module, measurable("", output))
        except NotMeasurable:  # nobody asked for it
            self._told = None

    @torch.no_grad()
    def _see(self, module: nn.Module, inputs: Any, how: dict[str, Any], output: Any, name: str) -> None:
        layer = self._call(module, name)
        try:
            if isinstance(module, Layered):
                for part, (values, range_) in module.inner_activations(*inputs, **how).items():
                    self._record(layer, part, module, values, range_)
            self._record(layer, "output", module, output, output_range(module))
        except NotMeasurable as refusal:  # said when samples are asked for: a network goes on as if unseen
            self._refusal = self._refusal or refusal

    def _call(self, module: nn.Module, name: str) -> str:
        # A layer that is called by itself is in no pass of the network; a recurrent one may be called step by step.
        if self._calls is None or isinstance(module, RECURRENT):
            return name
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name} (call {self._calls[name]})"

    def _record(self, layer: str, part: str, module: nn.Module, output: Any, range_: Range) -> None:
        values = measurable(layer, output).detach()
        if values.ndim == 1 and self._told is not None and len(self._told.shape) > 1:
            values = values[:, None]  # a scalar of each sample, its axis squeezed away
        axis = -1 if module in self._units_last else unit_axis(module, values, self._told)
        units = int(values.shape[axis])  # a tensor while the network is traced
        record = self._records.get((layer, part, units))
        if record is None:
            # Inside a layer, before its pool, maps are much larger than what the next layer sees: none is kept whole.
            maps = self._map_capacity if part == "output" else 0
            record = self._records[layer, part, units] = Record(self._capacity, maps, self._seed, range_)
        record.add(values, axis)
