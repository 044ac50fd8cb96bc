"""ReDo: reset dormant units during training. Sokar et al. 2023, arXiv 2302.12902.

    from hadamax.redo import redo

    redo(network, observations, optimizer)  # between two updates, for example every 1000 updates

Supports networks of dense and convolutional layers (PyTorch's and this library's) that run in sequence. Difference
from the paper: dead units of bounded activations are found by their density (see `redo`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hadamax.diagnostics.density import kde_peak_density
from hadamax.networks import Encoder, HadamardConv2d, HadamardLinear, QHead
from hadamax.networks.blocks import ConvBlock
from hadamax.networks.norms import BranchNorm

__all__ = ["dormant", "redo", "reset_units", "saturated"]

MAX_DENSITY_SAMPLES = 512


@torch.no_grad()
def redo(
    network: nn.Module,
    observations: Tensor,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    tau: float = 0.025,
    threshold: float = 20.0,
    flatten: str = "chw",
    generator: torch.Generator | None = None,
    run: Callable[[Tensor], object] | None = None,
) -> dict[str, int]:
    """Reset the dormant units of every hidden layer, in place.

    Resetting a unit re-initialises its incoming weights, bias and norm in all branches, and sets its outgoing weights
    and the optimizer's moments of both to zero. A unit is what the next layer reads: after activation, product and
    pool. A unit is dormant if its mean absolute activation is at most `tau` times the mean over its layer. A saturated
    tanh is near 1, so that score never finds it. In this library's layers whose activations are all tanh or sigmoid, a
    unit is therefore reset if the peak of its density is at least `threshold` (the criterion for dead units of arXiv
    2406.09079, appendix B; its use in ReDo is not from a paper).

    Args:
        observations: [B, *observation_shape], a typical training batch.
        optimizer: its state tensors of a parameter's shape (for example the moments of Adam and RAdam) are reset too.
        flatten: order in which a custom network flattens its maps, "chw" or "hwc"; ignored for this library's encoders.
        generator: source of the new weights; by default PyTorch's global generator.
        run: function that calls every layer of the network, if `network(observations)` does not.

    Returns:
        Number of units reset, by layer name.

    Raises:
        ValueError: `tau` is below 0, or a layer's input is not the output of the layer before it.
    """
    if not tau >= 0:
        raise ValueError(f"tau must be 0 or more, got {tau}")
    reset: dict[str, int] = {}
    generator = _cpu_generator(generator)
    # Last layer first, so that a weight from one reset unit to another ends at zero.
    for hidden in reversed(list(trace(network, observations, flatten, run or network))):
        units = saturated(hidden.samples, threshold, generator) if hidden.bounded else dormant(hidden.samples, tau)
        reset_units(hidden.layer, units, hidden.following, hidden.owners, optimizer, generator)
        reset[hidden.name] = int(units.sum())
    return dict(reversed(reset.items()))


def _cpu_generator(generator: torch.Generator | None) -> torch.Generator:
    """Seed a CPU generator from the given one, so that the new weights do not depend on the device."""
    device = "cpu" if generator is None else generator.device
    seed = torch.randint(2**62, (1,), generator=generator, device=device)
    return torch.Generator().manual_seed(int(seed))


def dormant(samples: Tensor, tau: float) -> Tensor:
    """Find units whose mean absolute activation is at most `tau` times the layer's mean: [N, unit] -> [unit] bool."""
    size = samples.abs().float().mean(dim=0)
    return size <= tau * size.mean()


def saturated(samples: Tensor, threshold: float, generator: torch.Generator | None = None) -> Tensor:
    """Find units whose density peaks at `threshold` or above: [N, unit] -> [unit] bool. `generator` is on the CPU."""
    rows = torch.linspace(0, len(samples) - 1, min(len(samples), MAX_DENSITY_SAMPLES)).long()
    return kde_peak_density(samples[rows.to(samples.device)].float(), generator=generator) >= threshold


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


@torch.no_grad()
def reset_units(
    layer: nn.Module,
    units: Tensor,
    following: Iterable[nn.Module],
    owners: Tensor,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Reset the given units of one layer, in place. `redo` finds layers and units automatically.

    Args:
        layer: `nn.Linear`, `nn.Conv2d` or a Hadamard layer.
        units: [unit] bool, on the device of the layer.
        following: the layers that read its output; their weights are [out, in, ...].
        owners: [in] int64, the unit that each input of `following` comes from.
        generator: CPU generator of the new weights; by default PyTorch's global generator.
    """
    if not units.any():
        return
    fresh = _fresh(layer, generator)
    rows = units.repeat(int(getattr(layer, "branches", 1)))  # branch after branch
    for name, parameter in layer.named_parameters(recurse=False):
        _put(parameter, rows, getattr(fresh, name).to(parameter.device)[rows], optimizer)
    norm = getattr(layer, "norm", None)
    if isinstance(norm, BranchNorm):
        for affine, value in ((norm.weight, 1.0), (norm.bias, 0.0)):
            if affine is not None:
                _put(affine, (slice(None), units), value, optimizer)
    for reader in following:
        weight: Tensor = reader.weight  # type: ignore[assignment]
        _put(weight, (slice(None), units[owners]), 0.0, optimizer)


def _fresh(layer: nn.Module, generator: torch.Generator | None) -> nn.Module:
    """Copy the layer with newly initialised weights. PyTorch's global generator is restored afterwards."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    fresh = copy.deepcopy(layer).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        fresh.reset_parameters()  # type: ignore[operator]
    return fresh


def _put(parameter: Tensor, index: Any, value: Any, optimizer: torch.optim.Optimizer | None) -> None:
    """Set part of a parameter, and set the optimizer's moments of that part to zero."""
    parameter[index] = value
    state = {} if optimizer is None else optimizer.state.get(parameter, {})
    for moment in state.values():
        if isinstance(moment, Tensor) and moment.shape == parameter.shape:
            moment[index] = 0.0
