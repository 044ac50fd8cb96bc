"""ReDo: give units that no longer tell anything apart a fresh start. Sokar et al. 2023, arXiv 2302.12902.

    from hadamax.redo import redo

    redo(network, observations, optimizer)  # between two updates, every so many of them

Works on networks of PyTorch's and this library's dense and convolutional layers that run one after the other. What
differs from the paper: units of bounded activations are judged by their density (see `redo`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hadamax.redo.density import kde_peak_density
from hadamax.redo.layers import trace
from hadamax.redo.reset import reset_units

__all__ = ["dormant", "redo", "reset_units", "saturated"]

MOST_SAMPLES = 512  # of a unit, for its density


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

    A unit's incoming weights, bias and norm are drawn anew as the layer's initialiser does, in all its branches; its
    outgoing weights become zero, and so do the optimizer's moments of both. A unit is what the next layer reads: after
    activation, product and pool. It is dormant where its mean absolute activation is at most `tau` times its layer's
    mean of those. A saturated tanh is near 1 and never dormant by that score, so units of this library's layers whose
    activations are all tanh or sigmoid are reset where their density's peak is at least `threshold` (the criterion of
    a dead unit in arXiv 2406.09079, appendix B; its use here is ours).

    Args:
        observations: [B, *observation_shape], a batch that is typical of the training.
        optimizer: any whose state has tensors of a parameter's shape, Adam and RAdam among them.
        flatten: order in which maps of a network of the caller's are flattened, "chw" or "hwc"; encoders know theirs.
        generator: where the new weights come from; PyTorch's own by default.
        run: calls every layer of the network, where `network(observations)` does not.

    Returns:
        How many units were reset, by the name of their layer.

    Raises:
        ValueError: `tau` is below 0, or a layer reads something else than the layer before it gives.
    """
    if not tau >= 0:
        raise ValueError(f"tau must be 0 or more, not {tau}")
    reset: dict[str, int] = {}
    generator = _on_the_cpu(generator)
    # The last layer first: what leads from one fresh unit to another ends at zero.
    for hidden in reversed(list(trace(network, observations, flatten, run or network))):
        units = saturated(hidden.samples, threshold, generator) if hidden.bounded else dormant(hidden.samples, tau)
        reset_units(hidden.layer, units, hidden.following, hidden.owners, optimizer, generator)
        reset[hidden.name] = int(units.sum())
    return dict(reversed(reset.items()))


def _on_the_cpu(generator: torch.Generator | None) -> torch.Generator:
    """A generator of the CPU that follows from the given one, so that every device draws the same weights."""
    device = "cpu" if generator is None else generator.device
    seed = torch.randint(2**62, (1,), generator=generator, device=device)
    return torch.Generator().manual_seed(int(seed))


def dormant(samples: Tensor, tau: float) -> Tensor:
    """Which units' mean absolute activation is at most `tau` times the layer's mean: [N, unit] -> [unit] bool."""
    size = samples.abs().float().mean(dim=0)
    return size <= tau * size.mean()


def saturated(samples: Tensor, threshold: float, generator: torch.Generator | None = None) -> Tensor:
    """Which units hardly vary, by the peak of their density: [N, unit] -> [unit] bool. `generator`: of the CPU."""
    rows = torch.linspace(0, len(samples) - 1, min(len(samples), MOST_SAMPLES)).long()
    return kde_peak_density(samples[rows.to(samples.device)].float(), generator=generator) >= threshold
