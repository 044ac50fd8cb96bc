"""HR Figures 2 and 12 (arXiv 2406.09079): tanh, ReLU and a Hadamard product of tanh fit a sum of sinusoids.

The paper states the target, the architectures and one fit each. All other settings are not from the paper and were
fixed before the first fit: see `CHOICES`. All seeds of an architecture and a learning rate are trained as one stack.

    hadamax paper hr-figure-2 --out figures
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from hadamax.networks import HadamardLinear

Array = NDArray[Any]

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
STEPS = 2000
POINTS = 128  # training points
TEST_POINTS = 1001
RANGE = (-1.0, 1.0)
WIDE = (-3.0, 3.0)  # added after the first fits, since almost every network fits the narrow range
LOGGED = 60  # number of points of an error curve
CHOOSING_SEEDS = (1001, 1002, 1003)  # used to choose the learning rate; not among the reported seeds
SEEDS = tuple(range(1, 21))
CHOICES = (
    f"x evenly spaced from {RANGE[0]:g} to {RANGE[1]:g}, and from {WIDE[0]:g} to {WIDE[1]:g}: {POINTS} training points "
    f"and {TEST_POINTS} test points, no noise (the wide range was added after the narrow one had been fitted)",
    f"Adam on all points at once, {STEPS:,} steps, mean squared error, PyTorch's default initial weights",
    f"learning rate: the best of {', '.join(f'{rate:g}' for rate in RATES)} for each architecture by the final median "
    f"error over {len(CHOOSING_SEEDS)} seeds that are not among the reported ones "
    f"({RATES[-2]:g} and {RATES[-1]:g} were added because shallow ReLU was best at 0.1)",
)


class Architecture(NamedTuple):
    """A network with one input and one output."""

    name: str
    variant: str
    make: Callable[[], nn.Module]
    published: int | None  # parameters

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.make().parameters())


class Fit(NamedTuple):
    """An architecture at its best learning rate."""

    architecture: Architecture
    rate: float
    steps: Array  # [point]
    errors: Array  # [point, seed], mean squared, on the test points
    predictions: Array  # [seed, test point], at the end
    choosing: dict[float, float]  # median error over the choosing seeds, by learning rate

    @property
    def final(self) -> Array:
        return np.asarray(self.errors[-1])


def network(activation: str, width: int, layers: int, branches: int = 1) -> nn.Module:
    """Build `layers` hidden layers of `width` units between one input and one output."""
    sizes = [1] + [width] * layers
    hidden = [HadamardLinear(a, b, branches=branches, activation=activation) for a, b in pairwise(sizes)]
    return nn.Sequential(*hidden, nn.Linear(width, 1))


TANH = Architecture("Tanh", "tanh", lambda: network("tanh", 200, 1), 601)
RELU = Architecture("ReLU", "relu", lambda: network("relu", 200, 1), 601)
TANH_HR = Architecture("Tanh (HR)", "tanh-hr", lambda: network("tanh", 100, 1, branches=2), 501)
DEEP_TANH = Architecture("deep Tanh", "tanh", lambda: network("tanh", 200, 3), 81_001)
DEEP_RELU = Architecture("deep ReLU", "relu", lambda: network("relu", 200, 3), 81_001)
# Appendix C.1 does not state the width: half of the others', as for the shallow one.
DEEP_TANH_HR = Architecture("deep Tanh (HR)", "tanh-2hr", lambda: network("tanh", 100, 3, branches=2), None)
SHALLOW = (TANH, RELU, TANH_HR)
DEEP = (DEEP_TANH, DEEP_RELU, DEEP_TANH_HR)


def target(x: Tensor) -> Tensor:
    """Compute 10 sin 7x + 15 sin 10x + 5 cos 5x (HR Fig. 2)."""
    return 10 * torch.sin(7 * x) + 15 * torch.sin(10 * x) + 5 * torch.cos(5 * x)


def best_fit(architecture: Architecture, seeds: Sequence[int] = SEEDS, **how: Any) -> Fit:
    """Choose the learning rate on separate seeds, then train the reported seeds with it."""
    rates = how.pop("rates", RATES)
    choosing = {rate: float(np.median(train(architecture.make, CHOOSING_SEEDS, rate, **how)[1][-1])) for rate in rates}
    rate = min(choosing, key=lambda rate: choosing[rate] if np.isfinite(choosing[rate]) else np.inf)
    return Fit(architecture, rate, *train(architecture.make, seeds, rate, **how), choosing)


def train(
    make: Callable[[], nn.Module],
    seeds: Sequence[int],
    rate: float,
    *,
    steps: int = STEPS,
    points: int = POINTS,
    range_: tuple[float, float] = RANGE,
) -> tuple[Array, Array, Array]:
    """Train one network per seed: return steps [point], test errors [point, seed], predictions [seed, test point]."""
    networks = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(make())
    parameters, buffers = stack_module_state(networks)
    skeleton = networks[0]

    def one(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(skeleton, (p, b), (x,))
        return output

    forward = vmap(one, in_dims=(0, 0, None))
    x, test = torch.linspace(*range_, points)[:, None], torch.linspace(*range_, TEST_POINTS)[:, None]
    y, test_y = target(x), target(test)
    optimizer = torch.optim.Adam(parameters.values(), lr=rate)
    logged = np.unique(np.geomspace(1, steps, LOGGED).round().astype(int))
    errors = []
    for step in range(1, steps + 1):
        loss = (forward(parameters, buffers, x) - y).square().mean(dim=(1, 2)).sum()  # independent over seeds
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in logged:
            with torch.no_grad():
                predictions = forward(parameters, buffers, test)
            errors.append((predictions - test_y).square().mean(dim=(1, 2)).numpy())
    return logged, np.array(errors), predictions[..., 0].numpy()


def interval_name(seeds: int) -> str:
    """Name the interval that `median_interval` returns for this number of seeds."""
    return "95% interval" if seeds > 5 else "lowest to highest seed"


def median_interval(values: Array, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the median and a confidence interval between two order statistics, with at least this coverage.

    With too few values for that (5 or fewer at 95%), the interval is from the minimum to the maximum.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    below = int(stats.binom.ppf((1 - confidence) / 2, ordered.size, 0.5))
    low = max(below - 1, 0)
    return float(np.median(ordered)), float(ordered[low]), float(ordered[ordered.size - 1 - low])
