"""Selection of the modules that a probe records, the ranges of their outputs, and the axis that counts units.

Units are the channels of maps, otherwise the last axis. A layer with weights determines the unit axis of its own
output. An activation gets its unit axis from the last such layer by comparing shapes, because a permutation, a
concatenation or a flattening may lie in between. A permutation of axes of equal size cannot be detected. Axes are
negative: counted from the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

Range = tuple[float, float]
Layers = str | type[nn.Module] | Sequence[str | type[nn.Module]]

UNBOUNDED = (-math.inf, math.inf)
# Torch's activations and the bounds of their outputs, if the class determines them.
ACTIVATIONS: dict[type[nn.Module], Range] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.ReLU6: (0.0, 6.0),
    nn.ReLU: (0.0, math.inf),
    nn.Softplus: (0.0, math.inf),
    # The instance determines the range, see `output_range`.
    **dict.fromkeys((nn.Hardtanh, nn.RNNBase, nn.RNNCellBase), UNBOUNDED),
    **dict.fromkeys((nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish), UNBOUNDED),
    **dict.fromkeys((nn.Hardswish, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink, nn.GLU), UNBOUNDED),
}
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@runtime_checkable
class Layered(Protocol):
    """Interface of a layer that exposes inner activations to a probe.

    A probe does not look at the modules inside such a layer.
    """

    output_range: Range | None
    """Bounds of the output; None for a layer without an activation, which is recorded only if it is named."""

    def inner_activations(self, *inputs: Any, **kwargs: Any) -> dict[str, tuple[Tensor, Range]]:
        """Return inner activations by name, shaped like outputs, with their ranges.

        Called with the arguments of `forward`, without gradients, and only while a probe is attached.
        """
        ...


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside a `torch.compile` wrapper, or the module itself."""
    inner = getattr(module, "_orig_mod", module)
    return inner if isinstance(inner, nn.Module) else module


def output_range(module: nn.Module) -> Range:
    """Return the bounds of a module's outputs, infinite if unknown."""
    if isinstance(module, Layered):
        return module.output_range or UNBOUNDED
    if isinstance(module, nn.Hardtanh) and not isinstance(module, nn.ReLU6):
        return float(module.min_val), float(module.max_val)
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        if "relu" in (getattr(module, "nonlinearity", ""), getattr(module, "mode", "")[-4:].lower()):
            return 0.0, math.inf
        return UNBOUNDED if getattr(module, "proj_size", 0) else (-1.0, 1.0)
    return next((range_ for kind, range_ in ACTIVATIONS.items() if isinstance(module, kind)), UNBOUNDED)


def select(network: nn.Module, layers: Layers | None = None) -> dict[str, nn.Module]:
    """Return modules by name: the requested ones, or all hidden layers.

    Hidden layers are `Layered` modules with an activation, and torch's activation and recurrent modules. If there are
    none (activations called as functions), they are the linear and convolution layers, measured before the activation.

    Args:
        layers: names as in `named_modules()`, patterns, types, or a sequence of them. A pattern (`encoder.*`) selects
            hidden layers; if it matches none of them, it selects from all modules.

    Raises:
        TypeError: an entry is neither a name nor a type.
        ValueError: an entry matches nothing (the message lists the modules), or there is nothing to measure.
    """
    network = unwrapped(network)
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError("layers: a scripted network cannot be probed; probe the original module")
    modules = {name or type(module).__name__: module for name, module in network.named_modules()}
    named = set(modules)  # a shared module appears once, as in `named_modules()`
    hidden = {name: module for name, module in _hidden(network) if name in named} or _of_type(modules, WEIGHTED)
    if layers is None:
        if not hidden:
            raise ValueError(
                f"layers: {type(network).__name__} has no activation, recurrent, linear or convolution modules"
            )
        return hidden
    wanted: list[Any] = list(layers) if isinstance(layers, Iterable) and not _is_one(layers) else [layers]
    if not wanted:
        raise ValueError("layers: empty; omit it to select all hidden layers")
    aliases = _aliases(network, modules)
    chosen: set[str] = set()
    for want in wanted:
        if isinstance(want, str):
            # Prefer hidden layers: their containers give the same values again.
            names = {name for name in hidden if fnmatchcase(name, want)}
            names = names or {name for alias, name in aliases.items() if fnmatchcase(alias, want)}
        elif isinstance(want, type):
            names = set(_of_type(modules, want))
        else:
            raise TypeError(f"layers: {_shown(want)} is neither a name nor a type; expected one of {_listing(modules)}")
        if not names:
            raise ValueError(f"layers: {_named(want)} matches nothing; expected one of {_listing(modules)}")
        chosen |= names
    found = {name: module for name, module in modules.items() if name in chosen}
    for name, module in found.items():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"layers: {name} is scripted and cannot be probed; probe the original module")
    return found


def modules_with_unit_axis(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules whose class determines the unit axis of their output.

    Modules inside a `Layered` one are skipped, because its fused kernel may not call them. Scripted modules are skipped
    because they do not support hooks.
    """
    if has_unit_axis(module):
        if not isinstance(module, torch.jit.ScriptModule):
            yield module
        if isinstance(module, Layered):
            return
    for child in module.children():
        yield from modules_with_unit_axis(child)


def units_last(network: nn.Module) -> set[nn.Module]:
    """Return the modules inside layers that have a true attribute `inner_units_last`.

    Such a layer passes values to its inner modules with the units in the last axis, whatever its own output's layout.
    """
    layers = (module for module in network.modules() if getattr(module, "inner_units_last", False))
    return {inner for layer in layers for inner in layer.modules() if inner is not layer}


def _is_one(layers: object) -> bool:
    return isinstance(layers, str | type | nn.Module)


def _aliases(network: nn.Module, modules: dict[str, nn.Module]) -> dict[str, str]:
    """Map every name of every module, also without torch.compile's wrapper prefix, to its canonical name."""
    canonical = {id(module): name for name, module in modules.items()}
    found = {name: canonical[id(module)] for name, module in network.named_modules(remove_duplicate=False) if name}
    found |= {name: name for name in modules}
    return {name.replace("_orig_mod.", ""): own for name, own in found.items()} | found


def _hidden(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, Layered):
        if module.output_range is not None:
            yield prefix or type(module).__name__, module
        return
    if isinstance(module, tuple(ACTIVATIONS)):
        yield prefix or type(module).__name__, module
        return
    for name, child in module.named_children():
        yield from _hidden(child, f"{prefix}.{name}" if prefix else name)


def _of_type(
    modules: dict[str, nn.Module], kind: type[nn.Module] | tuple[type[nn.Module], ...]
) -> dict[str, nn.Module]:
    return {name: module for name, module in modules.items() if isinstance(module, kind)}


def _shown(want: object, most: int = 60) -> str:
    shown = " ".join(repr(want).split())
    return shown if len(shown) <= most else f"{shown[:most]}..."


def _named(want: str | type[nn.Module]) -> str:
    return repr(want) if isinstance(want, str) else want.__name__


def _listing(modules: dict[str, nn.Module], most: int = 60) -> str:
    names = [
        name if name == type(module).__name__ else f"{name} ({type(module).__name__})"
        for name, module in modules.items()
    ]
    rest = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *rest])


RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class UnitAxis(NamedTuple):
    """Unit axis and shape of a layer's output."""

    axis: int
    shape: tuple[int, ...]

    @property
    def units(self) -> int:
        return self.shape[self.axis]


def has_unit_axis(module: nn.Module) -> bool:
    """Return True if the layer's class determines the unit axis of its output, for some input shape."""
    return _axis_and_units(module, 4) is not None


def own_unit_axis(module: nn.Module, values: Tensor) -> UnitAxis | None:
    """Return the unit axis of a layer's output if the layer's class determines it, else None."""
    axis = _own_axis(module, values)
    return None if axis is None else UnitAxis(axis, tuple(values.shape))


def unit_axis(module: nn.Module, values: Tensor, before: UnitAxis | None) -> int:
    """Return the unit axis of an output [..., units] or [..., units, positions ...] with at least one axis.

    Args:
        before: unit axis of the last layer called before this module whose class determines it.
    """
    own = _own_axis(module, values)
    if own is not None:
        return own
    found = _axis_behind(before, tuple(values.shape)) if before is not None else None
    if found is not None:
        return found
    return 1 - values.ndim if values.ndim > 3 else -1


def _axis_behind(before: UnitAxis, shape: tuple[int, ...]) -> int | None:
    first = 0 if before.axis == -len(before.shape) else 1  # the batch axis, unless the layer's output had none
    possible = [axis for axis in range(first - len(shape), 0) if shape[axis] == before.units]
    if len(shape) == len(before.shape):
        moved = sorted(shape) == sorted(before.shape)  # otherwise a concatenation or a gate changed the width
        return possible[-1] if moved and possible and before.axis not in possible else before.axis
    if math.prod(shape) == math.prod(before.shape):  # reshaped
        return before.axis if before.axis in possible else possible[-1] if possible else None
    return possible[0] if len(possible) == 1 and len(shape) < len(before.shape) else None


def _own_axis(module: nn.Module, values: Tensor) -> int | None:
    found = _axis_and_units(module, values.ndim)
    if found is None:
        return None
    axis, units = found
    # A subclass may change the shape of the output, for example by pooling or by turning patches into a sequence.
    return axis if values.ndim >= -axis and values.shape[axis] == units else None


def _axis_and_units(module: nn.Module, ndim: int) -> tuple[int, int] | None:
    """Return the unit axis and the number of units that the layer's class determines, or None."""
    channels = min(1 - ndim, -1)
    if isinstance(module, _ConvNd):
        return -len(module.kernel_size) - 1, module.out_channels
    if isinstance(module, _NormBase):
        return channels, module.num_features
    if isinstance(module, nn.GroupNorm):
        return channels, module.num_channels
    if type(module) in (nn.LayerNorm, nn.RMSNorm):  # subclasses such as torchvision's LayerNorm2d permute axes
        shape: tuple[int, ...] = tuple(module.normalized_shape)  # type: ignore[arg-type]
        return (-1, shape[0]) if len(shape) == 1 else None
    if isinstance(module, nn.RNNBase):
        return -1, (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    for name, axis in (("hidden_size", -1), ("embedding_dim", -1), ("out_features", -1), ("out_channels", channels)):
        units = getattr(module, name, None)
        if isinstance(units, int) and (name != "hidden_size" or isinstance(module, nn.RNNCellBase)):
            return axis, units
    return None
