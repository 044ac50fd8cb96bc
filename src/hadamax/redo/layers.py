"""Which layers of a network have units that can be reset, and what reads them: found by running it once."""

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
    """A hidden layer, with what it gave for a batch."""

    name: str
    layer: nn.Module  # its weight is [branches * unit, ...]
    following: list[nn.Module]  # the layers that read it
    owners: Tensor  # [input of those] the unit that each of their inputs belongs to
    samples: Tensor  # [N, unit] activations as they are read; positions of a map are samples
    bounded: bool  # all activations are tanh or sigmoid


class Call(NamedTuple):
    name: str
    module: nn.Module
    read: Tensor


def trace(network: nn.Module, observations: Tensor, flatten: str, run: Callable[[Tensor], object]) -> Iterator[Hidden]:
    """The hidden layers in the order in which `run(observations)` calls them.

    Raises:
        ValueError: an unknown flatten order, or a layer that reads something else than the one before it gives.
    """
    if flatten not in ("chw", "hwc"):
        raise ValueError(f'flatten "{flatten}" is not known; valid: chw, hwc')
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
    """Units of a layer: rows of its weight, counted once for all branches."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return len(weight) // int(getattr(layer, "branches", 1))


@torch.no_grad()
def _calls(network: nn.Module, observations: Tensor, run: Callable[[Tensor], object]) -> list[Call]:
    calls: list[Call] = []
    within = {module.layer for module in network.modules() if isinstance(module, ConvBlock)}  # the block reads for it
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if isinstance(module, READERS) and module not in within:

                def note(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                    calls.append(Call(name, module, inputs[0]))

                hooks.enter_context(module.register_forward_pre_hook(note))  # type: ignore[arg-type]
        run(observations)
    return calls


def _groups(calls: list[Call]) -> list[list[Call]]:
    """Consecutive calls that read the same tensor: a policy and a value on one encoder."""
    groups: list[list[Call]] = []
    for call in calls:
        if groups and groups[-1][0].read is call.read:
            groups[-1].append(call)
        else:
            groups.append([call])
    return groups


def _outputs(layer: nn.Module) -> int:
    """What comes out of a layer: its units, twice as many with crelu."""
    for name in ("out_channels", "out_features"):
        if hasattr(layer, name):
            return int(getattr(layer, name))
    return unit_count(layer)


def _as_read(call: Call, name: str, outputs: int, units: int, flatten: str) -> tuple[Tensor, Tensor]:
    """(samples [N, unit], owners [input]) of what `call` reads of the layer called `name`."""
    read = call.read
    inputs = read.shape[1]
    if read.ndim not in (2, 4) or inputs % outputs or (read.ndim == 4 and inputs != outputs):
        raise ValueError(f"layer {call.name} reads {[*read.shape]}, which are not the {outputs} outputs of {name}")
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
    """Whether a layer of ours has no activation, and so no units: in a residual block, the last one."""
    activations = getattr(layer, "activations", None)
    return activations is not None and all(isinstance(a, nn.Identity) for a in activations)


def _bounded(layer: nn.Module) -> bool:
    activations = getattr(layer, "activations", None)
    return activations is not None and all(isinstance(a, BOUNDED) for a in activations)
