"""Measurements of weight updates and of their effect on greedy actions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hadamax.diagnostics.checks import checked


def weight_norm(parameters: Iterable[Tensor]) -> float:
    """Compute the Euclidean norm of all parameters together."""
    return _norm(parameters)


def gradient_norm(parameters: Iterable[Tensor]) -> float | None:
    """Compute the Euclidean norm of all gradients (`grad`) together; None if there are no gradients."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return _norm(gradients) if gradients else None


def update_ratio(before: Iterable[Tensor], after: Iterable[Tensor]) -> float | None:
    """Compute the norm of the change over the norm before it; None if the norm before is zero.

    Raises:
        ValueError: the shapes of the parameters differ.
    """
    before, after = list(before), list(after)
    if [p.shape for p in before] != [p.shape for p in after]:
        raise ValueError("before and after must be the same parameters")
    size = _norm(before)
    change = _norm(new.detach().double() - old.detach().double() for old, new in zip(before, after, strict=True))
    return change / size if size > 0 else None


def churn(before: Tensor, after: Tensor) -> float:
    """Compute the fraction of observations whose greedy action changed: two [N, action] scores -> 0 to 1.

    Policy churn, Schaul et al. 2022 (arXiv 2206.00730).

    Raises:
        ValueError: the inputs are not two [N, action] of one shape, fewer than 2 actions, or NaN.
    """
    before, after = (checked("scores", scores, units=2) for scores in (before, after))
    if before.shape != after.shape:
        raise ValueError(f"scores {[*before.shape]} and {[*after.shape]} must be of the same observations")
    return float((before.argmax(dim=1) != after.argmax(dim=1)).double().mean())


def parameters_by_layer(network: nn.Module, layers: Iterable[str]) -> dict[str, list[str]]:
    """Group parameter names by the layer they are in; other parameters by the module that holds them."""
    prefixes = [f"{layer}." for layer in layers]
    found: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        inside = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        layer = inside[:-1] if inside else name.rpartition(".")[0] or name
        found.setdefault(layer, []).append(name)
    return found


def _norm(tensors: Iterable[Tensor]) -> float:
    squares = [tensor.detach().double().square().sum() for tensor in tensors]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
