"""Dead units by the peak of their density: HR appendix B.1 (arXiv 2406.09079).

A unit that gives almost the same value for every observation has a narrow, high density; its peak is compared with a
threshold. The density is a Gaussian kernel estimate with Scott's bandwidth, as in `scipy.stats.gaussian_kde`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.diagnostics.checks import checked

CELLS = 4  # grid cells per bandwidth
REACH = 5  # kernel radius in bandwidths: values below exp(-12.5) are cut off
NEAR_TOP = 0.98  # the density between grid points is up to 0.8% higher than on them
UNITS_AT_ONCE = 64  # units processed together, so that they fit in the CPU cache


def kde_peak_density(
    activations: Tensor, noise_variance: float = 1e-5, generator: torch.Generator | None = None
) -> Tensor:
    """Return the maximum of each unit's estimated density.

    Noise N(0, noise_variance) is added first. The bandwidth is N^(-1/5) times the standard deviation of the noisy
    samples (unbiased, as in scipy). Samples are spread with cubic weights over the four nearest points of a grid with
    a spacing of a quarter bandwidth (relative error 3e-4). The peak between grid points is found by fitting a parabola
    through the logarithms of three points. With Scott's rule the grid is bounded: no sample is farther than sqrt(N)
    standard deviations from the mean.

    Args:
        activations: [N, d] float.
        noise_variance: 0 for no noise.
        generator: CPU generator of the noise; by default torch's global generator.

    Returns:
        [d] float32, in 1

    Raises:
        ValueError: fewer than 2 samples, NaN, a negative variance, or without noise a constant unit.
    """
    activations = checked("activations", activations, samples=2)
    if not 0 <= noise_variance < math.inf:
        raise ValueError(f"noise_variance {noise_variance} is out of range; expected 0 or more")
    noise = None
    if noise_variance > 0:
        noise = torch.randn(activations.shape, generator=generator).to(activations.device) * math.sqrt(noise_variance)
    peaks = []
    for start in range(0, activations.shape[1], UNITS_AT_ONCE):
        units = slice(start, start + UNITS_AT_ONCE)
        samples = activations[:, units].T.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
        samples -= samples.amin(dim=1, keepdim=True)  # otherwise rounding of large values would remove the noise
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
    """Find units whose density peaks at `threshold` or above: [N, d] -> [d] bool. HR appendix B.1.

    Intended for bounded activations (tanh, sigmoid). The criterion depends on the scale of the activations: a layer of
    small values looks dead and one of large values alive. With the defaults, a unit with a bell-shaped density counts
    as dead if its standard deviation is below about 0.02.

    Raises:
        ValueError: as `kde_peak_density`.
    """
    return kde_peak_density(activations, noise_variance, generator) >= threshold


def _peaks(samples: Tensor) -> Tensor:
    """Compute the density peaks of samples [d, N] float64: [d]."""
    number = samples.shape[1]
    low, high = samples.amin(dim=1, keepdim=True), samples.amax(dim=1, keepdim=True)
    size = high - low
    if not (size > 0).all():
        raise ValueError("a unit never varies, so its density is undefined; expected noise_variance above 0")
    samples = samples.sub_(low).div_(size)  # scaled to 0..1 against over- and underflow of squares
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
    """Spread each position (0 or more, in cells) over four grid points by cubic interpolation: [d, N] -> [d, cells].

    Grid point 0 is one cell below position 0.
    """
    units = len(places)
    cells = int(places.max()) + 4
    left = places.floor()
    t = places - left
    index = left.long()
    outer, inner = t * (t - 1) / 6, (t + 1) * (t - 2) / 2
    counts = torch.zeros(units, cells, device=places.device)
    # Lagrange weights of the points at -1, 0, 1 and 2.
    for weight in (-outer * (t - 2), inner * (t - 1), -inner * t, outer * (t + 1)):
        counts.scatter_add_(1, index, weight)
        index += 1
    return counts


def _between_points(density: Tensor) -> Tensor:
    """Refine each row's maximum between grid points by parabolas through the logarithms: [d, cells] -> [d].

    All local maxima near the top are refined, since the highest mode need not be the one closest to a grid point.
    """
    top = density.amax(dim=1)
    middle = density[:, 1:-1]
    is_peak = (middle >= NEAR_TOP * top[:, None]) & (middle >= density[:, :-2]) & (middle >= density[:, 2:])
    units, cells = is_peak.nonzero(as_tuple=True)
    left, centre, right = (density[units, cells + i].clamp(min=1e-30).log() for i in range(3))
    bend = (left - 2 * centre + right).clamp(max=-1e-12)
    return top.scatter_reduce(0, units, torch.exp(centre - (right - left) ** 2 / (8 * bend)), "amax")
