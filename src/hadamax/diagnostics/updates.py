"""How the weights move, and what that does to the greedy actions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hadamax.diagnostics.checks import checked


def weight_norm(parameters: Iterable[Tensor]) -> float:
    """Euclidean norm of all parameters together."""
    return _norm(parameters)


def gradient_norm(parameters: Iterable[Tensor]) -> float | None:
    """Euclidean norm of all gradients together, as they stand in `grad`; None where there is none."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return _norm(gradients) if gradients else None


def update_ratio(before: Iterable[Tensor], after: Iterable[Tensor]) -> float | None:
    """Norm of the change over the norm before it; None where that is zero.

    Raises:
        ValueError: not the same parameters.
    """
    before, after = list(before), list(after)
    if [p.shape for p in before] != [p.shape for p in after]:
        raise ValueError("before and after are not the same parameters")
    size = _norm(before)
    change = _norm(new.detach().double() - old.detach().double() for old, new in zip(before, after, strict=True))
    return change / size if size > 0 else None


def churn(before: Tensor, after: Tensor) -> float:
    """Share of observations whose greedy action changed: [N, action] scores of the same observations -> 0 to 1.

    Policy churn, Schaul et al. 2022 (arXiv 2206.00730).

    Raises:
        ValueError: not two [N, action] of one shape, fewer than 2 actions, or NaN.
    """
    before, after = (checked("scores", scores, units=2) for scores in (before, after))
    if before.shape != after.shape:
        raise ValueError(f"scores {[*before.shape]} and {[*after.shape]} are not of the same observations")
    return float((before.argmax(dim=1) != after.argmax(dim=1)).double().mean())


def parameters_by_layer(network: nn.Module, layers: Iterable[str]) -> dict[str, list[str]]:
    """Names of parameters by the layer they are within, and of those in none by the module that holds them."""
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
