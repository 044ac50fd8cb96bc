"""Action values that Q-learning targets bootstrap from, single or double estimator."""

from __future__ import annotations

from torch import Tensor


def greedy_values(values: Tensor, chooser: Tensor | None = None) -> Tensor:
    """Return the value of the greedy action: [B, A] -> [B].

    With `chooser` [B, A], the greedy action is taken by those values and evaluated by `values`: the double estimator
    (double DQN, van Hasselt et al. 2016, arXiv 1509.06461).
    """
    best = (values if chooser is None else chooser).argmax(dim=1, keepdim=True)
    return values.gather(1, best).squeeze(1)


def of_actions(values: Tensor, actions: Tensor) -> Tensor:
    """Select the entry of one action per row: [B, A] or [B, A, N], [B] int64 -> [B] or [B, N]."""
    index = actions.view(-1, *(1,) * (values.ndim - 1)).expand(-1, 1, *values.shape[2:])
    return values.gather(1, index).squeeze(1)
