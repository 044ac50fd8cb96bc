"""Resetting units: new incoming weights, zero outgoing weights, zero optimizer moments."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.networks.norms import BranchNorm


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
