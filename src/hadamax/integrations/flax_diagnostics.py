"""Diagnostics of a Flax module's activations. Extra: `hadamax-rl[flax]`.

from hadamax.integrations.flax_diagnostics import activations
health = measure(activations(network, variables, observations))  # measure: of hadamax.diagnostics
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hadamax.diagnostics import Sample, sample_of
from hadamax.diagnostics.health import BATCH
from hadamax.diagnostics.selection import UNBOUNDED

# Imported first, because its error names the missing extra.
from hadamax.integrations.flax import Encoder
from hadamax.integrations.flax_layers import Array, HadamardConv, HadamardDense
from hadamax.networks.activations import ActivationSetting, resolve_activations
from hadamax.networks.hadamard import COMBINATIONS, Range, combine_ranges
from hadamax.networks.specs import Activate, Conv, Dense

import flax.linen as nn  # isort: skip
import jax  # isort: skip
from flax.traverse_util import flatten_dict  # isort: skip

Path = tuple[str, ...]


def activations(
    module: nn.Module,
    variables: Mapping[str, Any],
    observations: Array,
    ranges: Mapping[str, Range] | None = None,
    *,
    samples: int = 2048,
    map_samples: int = 512,
    **how: Any,
) -> list[Sample]:
    """Record the activations of a Flax module's hidden layers for observations [N, ...], for `measure` and `signs`.

    Hidden layers are the blocks of this library's encoders, Hadamard layers, and everything that a module sows:
    `self.sow("intermediates", "hidden", x)`. If there are none, they are `nn.Dense` and `nn.Conv`, whose outputs are
    measured before the activation. Channels are last, as usual in Flax.

    Args:
        variables: variables of `module.apply`.
        ranges: bounds of sown values by name, for example {"hidden": (-1, 1)} for a tanh.
        samples, map_samples: as for `hadamax.diagnostics.Probe`.
        how: further arguments of `module.apply`, for example train=False.

    Raises:
        ValueError: there are no observations, or no hidden layers.
    """
    if not len(observations):
        raise ValueError("observations are empty; expected 2 or more")
    known: dict[Path, Range] = {}

    def hidden(layer: nn.Module, method: str) -> bool:
        known.update(_ranges(layer))
        return isinstance(layer, HadamardConv | HadamardDense)

    def plain(layer: nn.Module, method: str) -> bool:
        return isinstance(layer, nn.Dense | nn.Conv)

    def name(path: Path) -> str:
        return ".".join(part for part in path if part != "__call__") or type(module).__name__

    seen = _captured(module, variables, observations, hidden, how)
    seen = seen or _captured(module, variables, observations, plain, how)
    if not seen:
        raise ValueError(f"{name(())} has no layer to measure; sow one: self.sow('intermediates', 'name', x)")
    given = {name(path): range_ for path, range_ in known.items()} | dict(ranges or {})
    return [
        sample_of(
            name(path) if call == 1 else f"{name(path)} (call {call})",
            [torch.from_numpy(np.array(x, np.float32)).movedim(-1, 1) for x in batches],
            given.get(name(path), UNBOUNDED),
            samples=samples,
            map_samples=map_samples,
        )
        for (path, call), batches in seen.items()
    ]


def _captured(
    module: nn.Module, variables: Mapping[str, Any], observations: Array, wanted: Any, how: Mapping[str, Any]
) -> dict[tuple[Path, int], list[Array]]:
    """Return an array [n, ..., channels] per batch, for each layer and each of its calls, in order."""
    order: dict[Path, None] = {}

    @jax.jit
    def run(variables: Any, batch: Array) -> Any:
        _, state = module.apply(variables, batch, capture_intermediates=wanted, mutable=["intermediates"], **how)
        found = flatten_dict(state.get("intermediates", {}))
        order.update(dict.fromkeys(found))  # outputs of a compiled function are sorted by name
        return found

    seen: dict[tuple[Path, int], list[Array]] = {}
    for start in range(0, len(observations), BATCH):
        found = run(variables, observations[start : start + BATCH])
        for path in order:
            for call, values in enumerate(found[path], start=1):
                seen.setdefault((path, call), []).append(values)
    return seen


def _ranges(layer: nn.Module) -> dict[Path, Range]:
    """Return the bounds of a layer's captured outputs, by path."""
    if isinstance(layer, HadamardConv | HadamardDense):
        return {layer.path: _range(layer.activation, layer.branches, layer.combine)}
    if not isinstance(layer, Encoder):
        return {}
    hidden: dict[str, Sequence[Any]] = {"blocks": layer.spec.blocks, "dense": layer.spec.dense}
    return {
        (*layer.path, f"{group}.{number}"): (
            _range(block.activation)
            if isinstance(block, Activate)
            else _range(block.activation, block.branches, block.combine)
        )
        for group, blocks in hidden.items()
        for number, block in enumerate(blocks)
        if isinstance(block, Conv | Dense | Activate)
    }


def _range(activation: ActivationSetting, branches: int = 1, combine: str = "product") -> Range:
    return combine_ranges([entry.range for entry in resolve_activations(activation, branches)], COMBINATIONS[combine])
