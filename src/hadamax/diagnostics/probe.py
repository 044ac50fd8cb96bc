"""Probe that records a bounded sample of the activations of any network's layers and leaves the network unchanged.

with Probe(network) as probe:
    network(observations)
for sample in probe.samples():
    print(sample.layer, dead_neurons(sample.activations).float().mean())
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any

import torch
from torch import nn

from hadamax.diagnostics.records import NotMeasurable, Record, Sample, measurable
from hadamax.diagnostics.selection import (
    RECURRENT,
    Layered,
    Layers,
    Range,
    UnitAxis,
    modules_with_unit_axis,
    output_range,
    own_unit_axis,
    select,
    unit_axis,
    units_last,
    unwrapped,
)


class Probe:
    """Record the outputs of chosen layers while attached, also in training; outputs and gradients are unchanged.

    A layer of width d uses memory for samples x d numbers, in the layer's dtype (bfloat16 under autocast) and on its
    device. The sampled rows depend only on `seed` and on the batch sizes, so all parts of a layer show the same
    observations. While a probe is attached, compiled modules run eagerly in the whole process, because a compiled graph
    ignores hooks that were added after compilation (a `torch.compiler.set_stance` of your own must be entered before
    the probe is attached). Copies and pickles of the network are not probed. A probe detaches itself when it is garbage
    collected.

    Args:
        network: any module, compiled or not. Repeated calls of a module within one forward pass of `network` are
            recorded separately, except those of a recurrent layer, which are recorded together.
        layers: names, patterns or types (see `select`); all hidden layers by default.
        samples: maximum number of rows kept per layer.
        map_samples: maximum number of whole convolution maps kept per layer.

    Raises:
        ValueError: a layer does not exist (the message lists the existing ones), or `samples` or `map_samples` is
            below 2.
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
                raise ValueError(f"{name} {value} is too small; expected 2 or more")
        self.network, self.layers = network, select(network, layers)
        self._units_last = units_last(unwrapped(network))
        self._capacity, self._map_capacity, self._seed = samples, map_samples, seed
        self._detach: weakref.finalize[[], Probe] | None = None
        self.clear()

    # -- attaching ----------------------------------------------------------------------------------------------------

    def attach(self) -> Probe:
        """Start recording. Raises RuntimeError if the probe is attached already."""
        if self._detach is not None:
            raise RuntimeError("the probe is attached already")
        root = unwrapped(self.network)
        with ExitStack() as stack:
            stack.enter_context(uncompiled())
            stack.callback(root.register_forward_pre_hook(Hook(self, Probe._begin)).remove)
            for module in set(modules_with_unit_axis(root)):
                stack.callback(module.register_forward_hook(Hook(self, Probe._note_unit_axis)).remove)
            for name, module in self.layers.items():
                hook = Hook(self, partial(Probe._record_call, name=name))
                stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            stack.callback(root.register_forward_hook(Hook(self, Probe._end), always_call=True).remove)
            self._detach = weakref.finalize(self, stack.pop_all().close)
            self._detach.atexit = False
        return self

    def detach(self) -> None:
        """Stop recording and remove every hook; the recorded samples remain."""
        if self._detach is not None:
            self._detach()
            self._detach = None

    def __enter__(self) -> Probe:
        return self.attach()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()

    # -- results ------------------------------------------------------------------------------------------------------

    def samples(self) -> list[Sample]:
        """Return the recorded samples, in the order of the layers' first calls.

        Raises:
            ValueError: no layer was called.
            TypeError: the output of a layer cannot be measured.
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
        """Discard all recorded samples."""
        self._records: dict[tuple[str, str, int], Record] = {}  # by layer, part and number of units
        self._refusal: NotMeasurable | None = None
        self._calls: Counter[str] | None = None
        self._last_unit_axis: UnitAxis | None = None

    # -- hooks --------------------------------------------------------------------------------------------------------

    def _begin(self, module: nn.Module, inputs: Any) -> None:
        self._calls, self._last_unit_axis = Counter(), None

    def _end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._calls = None

    def _note_unit_axis(self, module: nn.Module, inputs: Any, output: Any) -> None:
        try:
            self._last_unit_axis = own_unit_axis(module, measurable("", output))
        except NotMeasurable:  # the layer is not among the recorded ones
            self._last_unit_axis = None

    @torch.no_grad()
    def _record_call(self, module: nn.Module, inputs: Any, kwargs: dict[str, Any], output: Any, name: str) -> None:
        layer = self._call_name(module, name)
        try:
            if isinstance(module, Layered):
                for part, (values, range_) in module.inner_activations(*inputs, **kwargs).items():
                    self._record(layer, part, module, values, range_)
            self._record(layer, "output", module, output, output_range(module))
        except NotMeasurable as refusal:  # raised by `samples`, so that the forward pass is not interrupted
            self._refusal = self._refusal or refusal

    def _call_name(self, module: nn.Module, name: str) -> str:
        # A layer called on its own is outside a pass of the network; a recurrent one may be called step by step.
        if self._calls is None or isinstance(module, RECURRENT):
            return name
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name} (call {self._calls[name]})"

    def _record(self, layer: str, part: str, module: nn.Module, output: Any, range_: Range) -> None:
        values = measurable(layer, output).detach()
        if values.ndim == 1 and self._last_unit_axis is not None and len(self._last_unit_axis.shape) > 1:
            values = values[:, None]  # one scalar per sample: the unit axis was squeezed
        axis = -1 if module in self._units_last else unit_axis(module, values, self._last_unit_axis)
        units = int(values.shape[axis])  # a tensor while the network is traced
        record = self._records.get((layer, part, units))
        if record is None:
            # Inner activations are measured before the pool, where maps are large: they are not kept whole.
            maps = self._map_capacity if part == "output" else 0
            record = self._records[layer, part, units] = Record(self._capacity, maps, self._seed, range_)
        record.add(values, axis)


class Hook:
    """Forward hook that calls `call(owner, *args)`.

    Copies of the module, including pickles, get a hook that does nothing, so a target network copied from a probed
    network is not probed. The hook holds a weak reference to its owner. Calls that recompute activations in a backward
    pass (activation checkpointing) are ignored, since the forward pass was already recorded.
    """

    def __init__(self, owner: Any, call: Callable[..., None]) -> None:
        self._owner, self._call = weakref.ref(owner), call

    def __call__(self, *args: Any) -> None:
        owner = self._owner()
        if owner is not None and torch._C._current_graph_task_id() == -1:
            self._call(owner, *args)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return do_nothing

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _get_do_nothing, ()


def do_nothing(*args: Any) -> None:
    """Replace the hook in copies of a module."""


def _get_do_nothing() -> Callable[..., None]:
    return do_nothing


_lock = Lock()
_active = 0
_stance: AbstractContextManager[None] | None = None


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled modules eagerly, in the whole process, until the last active `uncompiled` block ends."""
    global _active, _stance
    with _lock:
        if _active == 0:
            _stance = torch.compiler.set_stance("force_eager")
            _stance.__enter__()
        _active += 1
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if _active == 0 and _stance is not None:
                _stance.__exit__(None, None, None)
                _stance = None
