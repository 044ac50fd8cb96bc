"""All measurements of a network's layers at once.

print(*measure(observe(network, observations)), sep="\\n")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hadamax.diagnostics.density import kde_peak_density
from hadamax.diagnostics.modes import evaluating
from hadamax.diagnostics.observations import Observations, device_of, moved, number_of, rows_of
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
BATCH = 256  # observations in a pass
ROUNDING = 0.03  # relative, of outputs in bfloat16


class Health(NamedTuple):
    """One layer's measurements; None where one has no meaning for it. Fractions are of units unless said."""

    layer: str
    part: str  # "output", or what stands inside: "branch 1", "product"
    units: int
    samples: int  # rows that the units were judged by
    dead_kde: float | None  # HR's criterion
    dead_zero: float | None  # zero on every sample
    dead_saturated: float | None  # at one and the same end of a bounded range on every sample
    dormant: float | None  # ReDo's criterion
    saturated: float | None  # fraction of activations near an end of a bounded range
    effective_rank: int | None
    stable_rank: float | None
    map_rank: int | None  # effective rank of a convolution's flattened map
    map_samples: int | None  # its upper limit
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
    """What the layers give for observations [N, ...], a batch at a time, in evaluation mode and without gradients.

    Modes and torch's random numbers are as before afterwards.

    Args:
        observations: a tensor or array, or a dict or tuple of them, as the network takes them.
        forward: runs the network on a batch, where calling it is not enough (another device, autocast).

    Raises:
        ValueError: as `Probe`, or no observation.
        TypeError: observations of another kind, or a layer whose output cannot be measured.
    """
    number = number_of(observations)
    if not number:
        raise ValueError("observations are none; 2 or more are needed")
    probe = Probe(network, layers, samples=samples, map_samples=map_samples, seed=seed)
    device = next((p.device for p in network.parameters()), device_of(observations))
    cards = [device.index or 0] if device.type == "cuda" else []
    with evaluating(network), torch.random.fork_rng(cards), probe:
        for start in range(0, number, BATCH):
            batch = rows_of(observations, start, start + BATCH)
            forward(batch) if forward else network(moved(batch, device))
    return probe.samples()


def measure(samples: Iterable[Sample], seed: int = 0) -> list[Health]:
    """The health of each sample; the noise of the density estimate is drawn from `seed`.

    Raises:
        ValueError: activations that are not finite, or fewer than 2 samples of a layer; the line names it.
    """
    return [_health(sample, seed) for sample in samples]


def dead(sample: Sample, seed: int = 0) -> Tensor:
    """[units] bool, by the form that fits: HR's density where values are bounded, zero on every sample elsewhere."""
    return _peaks(sample, seed) >= DEAD_PEAK if _bounded(sample) else zero_neurons(sample.activations)


def last_linear(network: nn.Module, units: int) -> nn.Module | None:
    """The network's last layer, as far as the order of its modules tells, where that takes so many units."""
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
    """What live and dead units of the last hidden layer add to the output (see `output_shares`).

    None unless the network's outputs are linear in those units: that is tried on some of the observations, since
    nothing else tells which weight stands on which layer. So there is none for log-probabilities, for dueling and
    distributional heads, for ensembles, nor where the last of the samples is of an earlier layer.

    Args:
        samples: what `observe` gave for the network.
        observations: [N, ...], some of which are tried.
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
