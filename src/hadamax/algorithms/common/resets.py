"""ReDo as an option of an algorithm: when it is due, and on what."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hadamax.redo import redo

ROWS = 128  # of a rollout, by which units are judged; the maps of a large encoder want memory


def reset_if_due(
    network: nn.Module,
    rows: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    frames: int,
    frames_per_iteration: int,
    every: int,
    tau: float,
    generator: torch.Generator,
    run: Callable[[Tensor], object] | None = None,
) -> float:
    """How many units were reset; 0 unless the iteration that ended at `frames` crossed a multiple of `every`.

    Args:
        rows: [N, *observation_shape], of which some are drawn.
        run: as `redo` takes it.
    """
    if frames // every == (frames - frames_per_iteration) // every:
        return 0.0
    sample = torch.randperm(len(rows), generator=generator, device=rows.device)[:ROWS]
    return float(sum(redo(network, rows[sample], optimizer, tau=tau, generator=generator, run=run).values()))
