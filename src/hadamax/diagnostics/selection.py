"""Which modules of a network a probe hangs on, and what range their outputs have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hadamax.diagnostics.axes import tells

Range = tuple[float, float]
Layers = str | type[nn.Module] | Sequence[str | type[nn.Module]]

UNBOUNDED = (-math.inf, math.inf)
# Activations of torch, and where their outputs lie as far as that is a property of the class.
ACTIVATIONS: dict[type[nn.Module], Range] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.ReLU6: (0.0, 6.0),
    nn.ReLU: (0.0, math.inf),
    nn.Softplus: (0.0, math.inf),
    # Their own, see `output_range`.
    **dict.fromkeys((nn.Hardtanh, nn.RNNBase, nn.RNNCellBase), UNBOUNDED),
    **dict.fromkeys((nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish), UNBOUNDED),
    **dict.fromkeys((nn.Hardswish, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink, nn.GLU), UNBOUNDED),
}
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@runtime_checkable
class Layered(Protocol):
    """What a layer may offer so that a probe sees inside it; layers of anyone's can.

    A probe takes such a layer whole: it does not look at the modules within.
    """

    output_range: Range | None
    """Where the output's values lie; None for a layer without an activation, left out unless it is named."""

    def inner_activations(self, *inputs: Any, **how: Any) -> dict[str, tuple[Tensor, Range]]:
        """What stands beside the output: activations by name, shaped like outputs, and their ranges.

        Called with what `forward` was given, only while a probe is attached, without gradients.
        """
        ...


def unwrapped(module: nn.Module) -> nn.Module:
    """The module that `torch.compile` was given, or the module itself."""
    inner = getattr(module, "_orig_mod", module)
    return inner if isinstance(inner, nn.Module) else module


def output_range(module: nn.Module) -> Range:
    """Where the outputs of a module lie; unbounded where nothing is known."""
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
    """Modules by name: those asked for, or all hidden layers.

    Hidden layers are the modules that are `Layered` with an activation, and torch's activation and recurrent modules;
    where there is none (activations that are plain functions), linear and convolution layers: their outputs are
    measured before the activation then.

    Args:
        layers: names as in `named_modules()`, patterns (`encoder.*`: of hidden layers, of all modules where none of
            those matches), types, or several of them.

    Raises:
        TypeError: what is neither a name nor a type.
        ValueError: a name or type that matches nothing, with what there is; or nothing to measure at all.
    """
    network = unwrapped(network)
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError("layers: a scripted network cannot be probed; probe the module that it was made of")
    modules = {name or type(module).__name__: module for name, module in network.named_modules()}
    named = set(modules)  # a module with several parents once, as in `named_modules()`
    hidden = {name: module for name, module in _hidden(network) if name in named} or _of_type(modules, WEIGHTED)
    if layers is None:
        if not hidden:
            raise ValueError(
                f"layers: {type(network).__name__} has no activation, recurrent, linear or convolution modules"
            )
        return hidden
    wanted: list[Any] = list(layers) if isinstance(layers, Iterable) and not _is_one(layers) else [layers]
    if not wanted:
        raise ValueError("layers: none given; leave it out for all hidden layers")
    aliases = _aliases(network, modules)
    chosen: set[str] = set()
    for want in wanted:
        if isinstance(want, str):
            # A pattern is for hidden layers: the containers around them give the same numbers again.
            names = {name for name in hidden if fnmatchcase(name, want)}
            names = names or {name for alias, name in aliases.items() if fnmatchcase(alias, want)}
        elif isinstance(want, type):
            names = set(_of_type(modules, want))
        else:
            raise TypeError(f"layers: {_shown(want)} is neither a name nor a type; there is {_listing(modules)}")
        if not names:
            raise ValueError(f"layers: {_named(want)} matches nothing; there is {_listing(modules)}")
        chosen |= names
    found = {name: module for name, module in modules.items() if name in chosen}
    for name, module in found.items():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"layers: {name} is scripted and cannot be probed; probe the module that it was made of")
    return found


def tellers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers that know the axis of their units; of a `Layered` one that does, not those within, which a fused
    form of it need not call. No hook can hang on a scripted one.
    """
    if tells(module):
        if not isinstance(module, torch.jit.ScriptModule):
            yield module
        if isinstance(module, Layered):
            return
    for child in module.children():
        yield from tellers(child)


def units_last(network: nn.Module) -> set[nn.Module]:
    """The modules within layers that give them their values with the units last, whatever the layer's own output has:
    such a layer says so by a true attribute `inner_units_last`.
    """
    layers = (module for module in network.modules() if getattr(module, "inner_units_last", False))
    return {inner for layer in layers for inner in layer.modules() if inner is not layer}


def _is_one(layers: object) -> bool:
    return isinstance(layers, str | type | nn.Module)


def _aliases(network: nn.Module, modules: dict[str, nn.Module]) -> dict[str, str]:
    """Every name of every module, those without torch.compile's wrappers too -> the name that it goes by."""
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
