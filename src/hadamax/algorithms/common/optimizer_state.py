"""An optimizer's state into a checkpoint and back, checked against the parameters it belongs to."""

from __future__ import annotations

from typing import Any

import torch


def save_moments(optimizer: torch.optim.Optimizer) -> dict[Any, Any]:
    """The optimizer's tensors by the number of their parameter."""
    moments: dict[Any, Any] = optimizer.state_dict()["state"]
    return moments


def load_moments(optimizer: torch.optim.Optimizer, moments: dict[Any, Any]) -> None:
    """Give an optimizer of one group the moments of a checkpoint; its settings stay.

    Raises:
        RuntimeError: a moment has another shape than its parameter.
    """
    numbered = {int(number): tensors for number, tensors in moments.items()}
    (group,) = optimizer.param_groups
    for number, tensors in numbered.items():
        parameter = group["params"][number]
        wrong = [n for n, t in tensors.items() if n != "step" and t.shape != parameter.shape]
        if wrong:
            raise RuntimeError(f"the optimizer's {wrong[0]} does not fit parameter {number}")
        # In memory as its parameter lies (channels last): fused optimizers do not look.
        moved = {n: torch.empty_like(parameter).copy_(t) for n, t in tensors.items() if n != "step"}
        numbered[number] = {**tensors, **moved}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": numbered, "param_groups": groups})
