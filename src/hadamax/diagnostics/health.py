"""All measurements of all hidden layers of a network.

print(*measure(observe(network, observations)), sep="\\n")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hadamax.diagnostics.density import kde_peak_density
from hadamax.diagnostics.observations import Observations, device_of, evaluating, moved, number_of, rows_of
from hadamax.diagnostics.probe import Probe
from hadamax.diagnostics.rank import effective_rank, stable_rank
from hadamax.diagnostics.records import Sample
from hadamax.diagnostics.selection import Layers
from hadamax.diagnostics.units import (
    dormant_neurons,
    feature_norm,
    output_shares,
    saturated_neurons,
    saturation,
    zero_neurons,
)

DEAD_PEAK = 20.0  # HR appendix B.1
BATCH = 256  # observations per forward pass
ROUNDING = 0.03  # relative rounding error of bfloat16 outputs


class Health(NamedTuple):
    """Measurements of one layer; None where a measurement does not apply. Fractions are of units unless noted."""

    layer: str
    part: str  # "output", or an inner activation: "branch 1", "product"
    units: int
    samples: int  # rows that the measurements are computed from
    dead_kde: float | None  # HR's criterion, by density
    dead_zero: float | None  # zero on every sample
    dead_saturated: float | None  # at the same end of a bounded range on every sample
    dormant: float | None  # ReDo's criterion
    saturated: float | None  # fraction of activations near an end of a bounded range
    effective_rank: int | None
    stable_rank: float | None
    map_rank: int | None  # effective rank of a convolution's flattened map
    map_samples: int | None  # upper limit of `map_rank`
    feature_norm: float


@torch.no_grad()
def observe(
    network: nn.Module,
    observations: Observations,
    layers: Layers | None = None,
    *,
    forward: Callable[[Any], Any] | None = None,
    samples: int = 2048,
    map_samples: int = 512,
    seed: int = 0,
) -> list[Sample]:
    """Record the layers' activations for observations [N, ...], in batches, in evaluation mode, without gradients.

    The training modes of the modules and the states of torch's random generators are restored afterwards.

    Args:
        observations: a tensor or array, or a dict or tuple of them, in the form the network expects.
        forward: function that runs the network on a batch, if more than `network(batch)` is needed (for example
            autocast).

    Raises:
        ValueError: as `Probe`, or there are no observations.
        TypeError: the observations are of another type, or a layer's output cannot be measured.
    """
    number = number_of(observations)
    if not number:
        raise ValueError("observations are empty; expected 2 or more")
    probe = Probe(network, layers, samples=samples, map_samples=map_samples, seed=seed)
    device = next((p.device for p in network.parameters()), device_of(observations))
    gpus = [device.index or 0] if device.type == "cuda" else []
    with evaluating(network), torch.random.fork_rng(gpus), probe:
        for start in range(0, number, BATCH):
            batch = rows_of(observations, start, start + BATCH)
            forward(batch) if forward else network(moved(batch, device))
    return probe.samples()


def measure(samples: Iterable[Sample], seed: int = 0) -> list[Health]:
    """Compute the health of each sample. The noise of the density estimate is drawn from `seed`.

    Raises:
        ValueError: activations are not finite, or a layer has fewer than 2 samples; the message names the layer.
    """
    return [_health(sample, seed) for sample in samples]


def dead(sample: Sample, seed: int = 0) -> Tensor:
    """Find dead units, [units] bool: by HR's density for bounded activations, otherwise by zero on every sample."""
    return _peaks(sample, seed) >= DEAD_PEAK if _bounded(sample) else zero_neurons(sample.activations)


def last_linear(network: nn.Module, units: int) -> nn.Module | None:
    """Return the network's last layer by module order if it has `units` inputs, else None."""
    weighted = [module for module in network.modules() if isinstance(getattr(module, "weight", None), Tensor)]
    last: Any = weighted[-1] if weighted else None
    return last if last is not None and last.weight.ndim == 2 and last.weight.shape[1] == units else None


@torch.no_grad()
def shares(
    network: nn.Module,
    samples: list[Sample],
    observations: Observations,
    *,
    forward: Callable[[Any], Any] | None = None,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Split the average output into the parts of live and of dead units of the last hidden layer (`output_shares`).

    Return None unless the network's outputs are linear in those units, which is verified on some of the observations.
    It is therefore None for log-probabilities, dueling and distributional heads and ensembles, and if the last sample
    is from an earlier layer.

    Args:
        samples: result of `observe` for the network.
        observations: [N, ...]; the first ones are used for the verification.
        forward: as for `observe`.
    """
    last = samples[-1]
    layer: Any = last_linear(network, last.activations.shape[1])
    if layer is None or last.part != "output":
        return None
    outputs: list[Any] = []

    def run(batch: Any) -> None:
        device = next(network.parameters()).device
        outputs.append(forward(batch) if forward else network(moved(batch, device)))

    tried = observe(network, rows_of(observations, 0, BATCH), forward=run, samples=BATCH, seed=seed)
    features, output = tried[-1].activations.float(), outputs[0]
    weight = layer.weight.detach().float()
    if tried[-1].name != last.name or not isinstance(output, Tensor) or output.shape != (len(features), len(weight)):
        return None
    bias = getattr(layer, "bias", None)
    linear = features @ weight.T + (0 if bias is None else bias.detach().float())
    if (linear - output.float()).norm() > ROUNDING * output.float().norm():
        return None
    return output_shares(last.activations.cpu(), weight.cpu(), dead(last, seed).cpu())


def _health(sample: Sample, seed: int) -> Health:
    values = sample.activations
    several = values.shape[1] > 1
    bounded = _bounded(sample)
    maps = sample.maps if sample.maps is not None and sample.maps.shape[1] > 1 else None
    try:
        silent = not values.any()
        return Health(
            layer=sample.layer,
            part=sample.part,
            units=values.shape[1],
            samples=values.shape[0],
            dead_kde=_share(_peaks(sample, seed) >= DEAD_PEAK),
            dead_zero=_share(zero_neurons(values)),
            dead_saturated=_share(saturated_neurons(values, *sample.range)) if bounded else None,
            dormant=_share(dormant_neurons(values)) if several else None,
            saturated=float(saturation(values, *sample.range).mean()) if bounded else None,
            effective_rank=effective_rank(values) if several else None,
            stable_rank=stable_rank(values) if several and not silent else None,
            map_rank=None if maps is None else effective_rank(maps),
            map_samples=None if maps is None else min(maps.shape),
            feature_norm=feature_norm(values),
        )
    except ValueError as error:
        raise ValueError(f"layer {sample.name}: {error}") from None


def _bounded(sample: Sample) -> bool:
    return all(map(math.isfinite, sample.range))


def _peaks(sample: Sample, seed: int) -> Tensor:
    return kde_peak_density(sample.activations, generator=torch.Generator().manual_seed(seed))


def _share(units: Tensor) -> float:
    return float(units.float().mean())
