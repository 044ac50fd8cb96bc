"""ReDo: reset dormant units during training. Sokar et al. 2023, arXiv 2302.12902.

    from hadamax.redo import redo

    redo(network, observations, optimizer)  # between two updates, for example every 1000 updates

Supports networks of dense and convolutional layers (PyTorch's and this library's) that run in sequence. Difference
from the paper: dead units of bounded activations are found by their density (see `redo`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hadamax.diagnostics import kde_peak_density
from hadamax.redo.layers import trace
from hadamax.redo.reset import reset_units

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
