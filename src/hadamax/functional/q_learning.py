"""The value that a target of Q-learning bootstraps from, without and with the double estimator."""

from __future__ import annotations

from torch import Tensor


def greedy_values(values: Tensor, chooser: Tensor | None = None) -> Tensor:
    """The value of the best action: [B, A] -> [B].

    With `chooser` [B, A] the action is the best one by those values instead: the double estimator, whose error in
    choosing is not the one in valuing (van Hasselt et al. 2016, arXiv 1509.06461).
    """
    best = (values if chooser is None else chooser).argmax(dim=1, keepdim=True)
    return values.gather(1, best).squeeze(1)


def of_actions(values: Tensor, actions: Tensor) -> Tensor:
    """What belongs to an action of each row: [B, A] or [B, A, N], [B] int64 -> [B] or [B, N]."""
    index = actions.view(-1, *(1,) * (values.ndim - 1)).expand(-1, 1, *values.shape[2:])
    return values.gather(1, index).squeeze(1)
