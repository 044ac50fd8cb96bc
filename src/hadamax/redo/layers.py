"""Discovery of resettable layers and of the layers that read them, by tracing one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hadamax.networks import Encoder, HadamardConv2d, HadamardLinear, QHead
from hadamax.networks.blocks import ConvBlock

READERS = (nn.Linear, nn.Conv2d, HadamardLinear, HadamardConv2d, QHead, ConvBlock)
BOUNDED = (nn.Tanh, nn.Sigmoid)


class Hidden(NamedTuple):
    """A hidden layer with its activations for one batch."""

    name: str
    layer: nn.Module  # its weight is [branches * unit, ...]
    following: list[nn.Module]  # the layers that read it
    owners: Tensor  # [inputs of `following`] the unit that each input comes from
    samples: Tensor  # [N, unit] activations as the next layer reads them; positions of a map count as samples
    bounded: bool  # all activations are tanh or sigmoid


class Call(NamedTuple):
    name: str
    module: nn.Module
    read: Tensor


def trace(network: nn.Module, observations: Tensor, flatten: str, run: Callable[[Tensor], object]) -> Iterator[Hidden]:
    """Yield the hidden layers in the order in which `run(observations)` calls them.

    Raises:
        ValueError: the flatten order is unknown, or a layer's input is not the output of the layer before it.
    """
    if flatten not in ("chw", "hwc"):
        raise ValueError(f'flatten "{flatten}" is unknown; expected chw or hwc')
    for encoder in (module for module in network.modules() if isinstance(module, Encoder)):
        flatten = encoder.spec.flatten
    groups = _groups(_calls(network, observations, run))
    for group, following in pairwise(groups):
        name, module, _ = group[0]
        layer = module.layer if isinstance(module, ConvBlock) else module
        if len(group) == 1 and not _linear(layer):
            readers = [call.module.layer if isinstance(call.module, ConvBlock) else call.module for call in following]
            units, outputs = unit_count(layer), _outputs(layer)
            samples, owners = _as_read(following[0], name, outputs, units, flatten)
            yield Hidden(name, layer, readers, owners, samples, _bounded(layer))


def unit_count(layer: nn.Module) -> int:
    """Return the number of units of a layer: rows of its weight divided by its number of branches."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return len(weight) // int(getattr(layer, "branches", 1))


@torch.no_grad()
def _calls(network: nn.Module, observations: Tensor, run: Callable[[Tensor], object]) -> list[Call]:
    calls: list[Call] = []
    # A block's layer is traced as part of the block.
    within = {module.layer for module in network.modules() if isinstance(module, ConvBlock)}
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if isinstance(module, READERS) and module not in within:

                def note(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                    calls.append(Call(name, module, inputs[0]))

                hooks.enter_context(module.register_forward_pre_hook(note))  # type: ignore[arg-type]
        run(observations)
    return calls


def _groups(calls: list[Call]) -> list[list[Call]]:
    """Group consecutive calls that read the same tensor, such as a policy and a value head on one encoder."""
    groups: list[list[Call]] = []
    for call in calls:
        if groups and groups[-1][0].read is call.read:
            groups[-1].append(call)
        else:
            groups.append([call])
    return groups


def _outputs(layer: nn.Module) -> int:
    """Return the number of outputs of a layer: its units, or twice as many with CReLU."""
    for name in ("out_channels", "out_features"):
        if hasattr(layer, name):
            return int(getattr(layer, name))
    return unit_count(layer)


def _as_read(call: Call, name: str, outputs: int, units: int, flatten: str) -> tuple[Tensor, Tensor]:
    """Return (samples [N, unit], owners [input]) of the input that `call` reads from the layer `name`."""
    read = call.read
    inputs = read.shape[1]
    if read.ndim not in (2, 4) or inputs % outputs or (read.ndim == 4 and inputs != outputs):
        raise ValueError(f"layer {call.name} reads {[*read.shape]}; expected the {outputs} outputs of layer {name}")
    number = torch.arange(inputs, device=read.device)
    if read.ndim == 4:
        rows, channels = read.movedim(1, -1).reshape(-1, outputs), number
    elif flatten == "hwc":
        rows, channels = read.reshape(-1, outputs), number % outputs
    else:
        positions = inputs // outputs
        rows = read.reshape(len(read), outputs, positions).movedim(1, -1).reshape(-1, outputs)
        channels = number // positions
    return rows.reshape(-1, units), channels % units


def _linear(layer: nn.Module) -> bool:
    """Return True for this library's layers without an activation (the last one of a residual block)."""
    activations = getattr(layer, "activations", None)
    return activations is not None and all(isinstance(a, nn.Identity) for a in activations)


def _bounded(layer: nn.Module) -> bool:
    activations = getattr(layer, "activations", None)
    return activations is not None and all(isinstance(a, BOUNDED) for a in activations)
