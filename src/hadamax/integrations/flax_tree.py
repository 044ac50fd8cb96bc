"""Mapping between the arrays of an encoder's Flax tree and the `state_dict` of its PyTorch form.

Flax numbers the submodules of a module by class, in order of creation: Conv_0, Conv_1 for the branches of the first
block, Conv_2 for the next one. A norm without parameters is numbered too. In PyTorch, the branches of a layer share one
merged weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hadamax.networks.activations import ActivationSetting, activation_names
from hadamax.networks.norms import resolve_norm
from hadamax.networks.specs import Activate, Conv, Dense, EncoderSpec, Residual

Array = np.ndarray[Any, Any]
Path = tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """An array of the tree: part `branch` of `branches` of the weight `key`."""

    path: Path
    key: str
    branch: int = 0
    branches: int = 1

    def part(self, weight: Array) -> Array:
        """Return the array of this branch. Kernels are [height, width, in, out] or [in, out] in Flax."""
        part = np.split(weight, self.branches)[self.branch]
        if self.path[-1] == "kernel":
            return part.transpose(*range(2, part.ndim), 1, 0)
        return part.reshape(-1)


def merge(parts: list[tuple[Leaf, Array]], shape: tuple[int, ...]) -> Array:
    """Merge the arrays of all branches, in order, into one weight."""
    turned = [x.transpose(-1, -2, *range(x.ndim - 2)) if leaf.path[-1] == "kernel" else x for leaf, x in parts]
    return np.concatenate(turned).reshape(shape)


class Scope:
    """Naming of the submodules of a Flax module."""

    def __init__(self, path: Path = ()) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()

    def name(self, kind: str) -> Path:
        self.counts[kind] += 1
        return (*self.path, f"{kind}_{self.counts[kind] - 1}")


def leaves(spec: EncoderSpec) -> Iterator[Leaf]:
    """Yield every array of an encoder's tree."""
    scope = Scope()
    for number, block in enumerate(spec.blocks):
        yield from BLOCKS[type(block)](scope, f"blocks.{number}.", block)
    for number, layer in enumerate(spec.dense):
        yield from layer_leaves(scope, f"dense.{number}.", layer)


def layer_leaves(scope: Scope, prefix: str, layer: Conv | Dense) -> Iterator[Leaf]:
    """Yield the arrays of a Hadamard layer: kernels, biases, norms, activation parameters."""
    branches = range(layer.branches)
    for branch in branches:
        path = scope.name(type(layer).__name__)
        for part, key in (("kernel", "weight"), ("bias", "bias"))[: 1 + layer.bias]:
            yield Leaf((*path, part), prefix + key, branch, layer.branches)
    norm = resolve_norm(layer.norm)
    for branch in branches if norm is not None else ():
        path = scope.name("LayerNorm")
        for part, key in (("scale", "weight"), ("bias", "bias")) if norm is not None and norm.affine else ():
            yield Leaf((*path, part), f"{prefix}norm.{key}", branch, layer.branches)
    for branch, name in enumerate(activation_names(layer.activation, layer.branches)):
        yield from activation_leaves(scope, f"{prefix}activations.{branch}.", name)


def activation_leaves(scope: Scope, prefix: str, activation: ActivationSetting) -> Iterator[Leaf]:
    """Yield the parameters of an activation; only `rational` has any."""
    if activation == "rational":
        path = scope.name("Rational")
        for part in ("numerator", "denominator"):
            yield Leaf((*path, part), prefix + part)


def conv_leaves(scope: Scope, prefix: str, block: Conv) -> Iterator[Leaf]:
    yield from layer_leaves(scope, f"{prefix}layer.", block)


def activate_leaves(scope: Scope, prefix: str, block: Activate) -> Iterator[Leaf]:
    yield from activation_leaves(scope, f"{prefix}activation.", block.activation)


def residual_layers(stage: Residual) -> tuple[Conv, Conv, Conv]:
    """Return the first convolution of a stage, and the hidden and the linear one of its residual blocks."""
    linear = Conv(stage.channels, stage.kernel, padding="same", activation="identity", bias=stage.bias)
    settings = (stage.activation, stage.branches, stage.combine, stage.norm)
    hidden = Conv(stage.channels, stage.kernel, 1, "same", *settings, bias=stage.bias)
    return replace(linear, pool=stage.pool), hidden, linear


def residual_leaves(scope: Scope, prefix: str, stage: Residual) -> Iterator[Leaf]:
    inner = Scope(scope.name("ConvSequence"))
    entry, hidden, linear = residual_layers(stage)
    yield from conv_leaves(inner, f"{prefix}entry.", entry)
    for number in range(stage.blocks):
        block, key = Scope(inner.name("ResidualBlock")), f"{prefix}residuals.{number}."
        yield from activate_leaves(block, f"{key}activation.", Activate(stage.outer_activation))
        yield from conv_leaves(block, f"{key}hidden.", hidden)
        yield from conv_leaves(block, f"{key}linear.", linear)


BLOCKS: dict[type, Callable[..., Iterator[Leaf]]] = {
    Conv: conv_leaves,
    Residual: residual_leaves,
    Activate: activate_leaves,
}
