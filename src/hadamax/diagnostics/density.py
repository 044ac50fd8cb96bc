"""Dead units by the height of their density: HR appendix B.1 (arXiv 2406.09079).

A unit that gives (almost) the same value for every observation has a density like a needle; its peak is compared
with a threshold. The density is a Gaussian kernel estimate with Scott's bandwidth, as in `scipy.stats.gaussian_kde`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.diagnostics.checks import checked

CELLS = 4  # grid cells a bandwidth
REACH = 5  # bandwidths that a kernel reaches: exp(-12.5) is what is cut off
NEAR_TOP = 0.98  # between grid points a density is up to 0.8% higher than on them
UNITS_AT_ONCE = 64  # what stays in a processor's cache


def kde_peak_density(
    activations: Tensor, noise_variance: float = 1e-5, generator: torch.Generator | None = None
) -> Tensor:
    """The highest point of each unit's density.

    Noise N(0, noise_variance) is added; the bandwidth is N^(-1/5) times the standard deviation (N - 1 in its
    denominator, as in scipy) of what results. Samples are spread over the four nearest points of a grid of a
    quarter bandwidth by cubic weights, so that a kernel's values in between are right to 3e-4; the peak between
    grid points comes from a parabola through the logarithms of three. Scott's rule bounds the grid: no sample is
    farther than sqrt(N) standard deviations from the mean.

    Args:
        activations: [N, d] float.
        noise_variance: 0 for none.
        generator: of the noise, on the CPU; torch's own unless given.

    Returns:
        [d] float32, in one over the activations' unit.

    Raises:
        ValueError: fewer than 2 samples, NaN, a negative variance, or no noise and a unit that never varies.
    """
    activations = checked("activations", activations, samples=2)
    if not 0 <= noise_variance < math.inf:
        raise ValueError(f"noise_variance {noise_variance} is out of range; valid: 0 or more")
    noise = None
    if noise_variance > 0:
        noise = torch.randn(activations.shape, generator=generator).to(activations.device) * math.sqrt(noise_variance)
    peaks = []
    for start in range(0, activations.shape[1], UNITS_AT_ONCE):
        units = slice(start, start + UNITS_AT_ONCE)
        samples = activations[:, units].T.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
        samples -= samples.amin(dim=1, keepdim=True)  # beside a large value noise would vanish
        if noise is not None:
            samples += noise[:, units].T
        peaks.append(_peaks(samples))
    return torch.cat(peaks)


def dead_neurons(
    activations: Tensor,
    threshold: float = 20.0,
    noise_variance: float = 1e-5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Units whose density peaks at `threshold` or above: [N, d] -> [d] bool. HR appendix B.1.

    Meant for bounded activations (tanh, sigmoid): the density has the scale of the activation, so a layer of small
    values looks dead and one of large values alive. With the defaults a bell-shaped unit is dead below a standard
    deviation of about 0.02.

    Raises:
        ValueError: as `kde_peak_density`.
    """
    return kde_peak_density(activations, noise_variance, generator) >= threshold


def _peaks(samples: Tensor) -> Tensor:
    """Peaks of samples [d, N] float64: [d]."""
    number = samples.shape[1]
    low, high = samples.amin(dim=1, keepdim=True), samples.amax(dim=1, keepdim=True)
    size = high - low
    if not (size > 0).all():
        raise ValueError("activations of a unit never vary, so without noise its density is not defined")
    samples = samples.sub_(low).div_(size)  # 0 to 1, so that no square over- or underflows
    deviation = (samples - samples.mean(dim=1, keepdim=True)).square_().sum(dim=1, keepdim=True).div(number - 1).sqrt()
    bandwidth = number**-0.2  # in standard deviations
    counts = _spread((samples / (deviation * (bandwidth / CELLS))).float())
    reach = CELLS * REACH
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=samples.device) / CELLS) ** 2)
    density = F.conv1d(counts[:, None], kernel[None, None], padding=reach)[:, 0]
    height = _between_points(density) / (number * bandwidth * math.sqrt(2 * math.pi))
    peaks: Tensor = height / (deviation * size)[:, 0]
    return peaks.float()


def _spread(places: Tensor) -> Tensor:
    """Each place (0 or more, in cells) shared among four grid points by cubic interpolation: [d, N] -> [d, cells].

    Grid point 0 is one cell below place 0.
    """
    units = len(places)
    cells = int(places.max()) + 4
    left = places.floor()
    t = places - left
    index = left.long()
    outer, inner = t * (t - 1) / 6, (t + 1) * (t - 2) / 2
    counts = torch.zeros(units, cells, device=places.device)
    # Lagrange's weights of the points at -1, 0, 1 and 2.
    for weight in (-outer * (t - 2), inner * (t - 1), -inner * t, outer * (t + 1)):
        counts.scatter_add_(1, index, weight)
        index += 1
    return counts


def _between_points(density: Tensor) -> Tensor:
    """The highest top of the parabolas through the logarithms around each row's highest points: [d, cells] -> [d].

    Of two modes that are almost as high, the one that happens to lie on a grid point need not be the higher one.
    """
    top = density.amax(dim=1)
    middle = density[:, 1:-1]
    is_peak = (middle >= NEAR_TOP * top[:, None]) & (middle >= density[:, :-2]) & (middle >= density[:, 2:])
    units, cells = is_peak.nonzero(as_tuple=True)
    left, centre, right = (density[units, cells + i].clamp(min=1e-30).log() for i in range(3))
    bend = (left - 2 * centre + right).clamp(max=-1e-12)
    return top.scatter_reduce(0, units, torch.exp(centre - (right - left) ** 2 / (8 * bend)), "amax")
