"""Density peaks against scipy's estimate on a fine grid, and dead units by density."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import gaussian_kde
from torch import Tensor

from hadamax.diagnostics import dead_neurons, kde_peak_density


def scipy_peak(samples: np.ndarray) -> float:
    """Return the maximum of scipy's estimate, from a grid of 1/100 bandwidth and a local search."""
    estimate = gaussian_kde(samples)
    bandwidth = math.sqrt(estimate.covariance[0, 0])
    # Peaks lie near samples only.
    cells = np.unique(np.round(samples / bandwidth * 2).astype(np.int64))
    cells = np.unique(np.concatenate([cells - 1, cells, cells + 1])) / 2 * bandwidth
    coarse = estimate(cells)
    best = cells[coarse > 0.8 * coarse.max()]
    peak = 0.0
    for place in best:
        fine = place + np.linspace(-0.5, 0.5, 101) * bandwidth
        peak = max(peak, float(estimate(fine).max()))
    return peak


def units(samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    normal, uniform = rng.standard_normal(samples), rng.uniform(-1, 1, samples)
    half = np.arange(samples) % 2 == 0
    return {
        "normal": normal,
        "uniform": uniform,
        "far from zero": 1e4 + normal,
        "huge": 1e20 * normal,
        "tanh": np.tanh(normal),
        "saturated tanh": np.tanh(20 * normal),
        "collapsed": np.full(samples, 0.9),
        "nearly collapsed": 1 - 1e-4 * np.abs(normal),
        "bimodal, even": np.where(half, -1, 1) + 0.1 * normal,
        "bimodal, one narrow": np.where(half, -1 + 0.2 * normal, 1 + 0.01 * normal),
        "bimodal, uneven": np.where(rng.random(samples) < 0.9, -1, 1) + 0.3 * normal,
        "three spikes": rng.choice([-1.0, 0.0, 1.0], samples),
        "half zero": np.maximum(normal, 0),
        "nearly all zero": np.where(rng.random(samples) < 0.99, 0, np.abs(normal)),
        "cauchy": rng.standard_cauchy(samples),
        "student 2": rng.standard_t(2, samples),
        "lognormal": np.exp(2 * normal),
        "one outlier": np.concatenate([0.01 * normal[1:], [1000.0]]),
        "two outliers": np.concatenate([0.01 * normal[2:], [1000.0, -1000.0]]),
        "spike beside a bulk": np.where(rng.random(samples) < 0.03, 3.0, normal),
    }


@pytest.mark.parametrize("samples", [50, 2048, 4096])
@pytest.mark.parametrize("variance", [1e-5, 0.0])
def test_peaks_equal_scipy(samples: int, variance: float) -> None:
    """Both get the same noise. Without noise, constant units are left out."""
    shapes = {name: unit for name, unit in units(samples).items() if variance or np.ptp(unit) > 0}
    given = torch.from_numpy(np.stack(list(shapes.values()), axis=1))
    ours = kde_peak_density(given, variance, torch.Generator().manual_seed(7))
    noise = torch.randn(given.shape, generator=torch.Generator().manual_seed(7)).double() * math.sqrt(variance)
    noisy = (given + noise).numpy()
    for i, name in enumerate(shapes):
        assert float(ours[i]) == pytest.approx(scipy_peak(noisy[:, i]), rel=1e-3), name


def test_peak_by_hand() -> None:
    """Two samples at +-1: standard deviation sqrt 2, bandwidth 2^(-1/5) sqrt 2, one peak in the middle."""
    bandwidth = 2**-0.2 * math.sqrt(2)
    expected = math.exp(-0.5 / bandwidth**2) / (bandwidth * math.sqrt(2 * math.pi))
    assert kde_peak_density(torch.tensor([[-1.0], [1.0]]), noise_variance=0).item() == pytest.approx(expected, rel=1e-3)


def test_normal_unit_is_dead_below_a_standard_deviation_of_0_02() -> None:
    """The smoothed peak of N(0, s) reaches 20 at s = 0.0196 for N = 4096."""
    samples = 4096
    factor = math.sqrt(1 + samples**-0.4)

    def off(s: float) -> float:
        total = math.sqrt(s**2 + 1e-5) * factor
        return abs(1 / (total * math.sqrt(2 * math.pi)) - 20)

    border = minimize_scalar(off, bounds=(0.01, 0.03), method="bounded").x
    assert border == pytest.approx(0.0194, abs=5e-4)
    quantiles = torch.special.ndtri((torch.arange(samples) + 0.5) / samples)
    given = torch.stack([0.9 * border * quantiles, 1.1 * border * quantiles], dim=1)
    assert dead_neurons(given, generator=torch.Generator().manual_seed(0)).tolist() == [True, False]


def test_dead_units_by_density() -> None:
    shapes = units(4096)
    given = torch.from_numpy(np.stack(list(shapes.values()), axis=1))
    dead = dead_neurons(given, generator=torch.Generator().manual_seed(0))
    names = {name for name, flag in zip(shapes, dead.tolist(), strict=True) if flag}
    assert names == {"collapsed", "nearly collapsed", "nearly all zero"}
    peaks = kde_peak_density(given, generator=torch.Generator().manual_seed(0))
    assert dead_neurons(given, threshold=1.0, generator=torch.Generator().manual_seed(0)).equal(peaks >= 1.0)
    assert 100 < peaks[list(shapes).index("collapsed")] < 130  # 1 / (sqrt(2 pi) sqrt(1e-5)), reduced by the bandwidth


def test_peak_ignores_offset_and_other_units() -> None:
    given = torch.from_numpy(units(500)["student 2"])[:, None]
    (alone,) = kde_peak_density(given, 0)
    moved = torch.cat([given + 12345, -given, 3 * given, torch.randn(500, 200)], dim=1)
    shifted, mirrored, stretched = kde_peak_density(moved, 0)[:3]
    assert float(shifted) == pytest.approx(float(alone), rel=1e-5)
    assert float(mirrored) == pytest.approx(float(alone), rel=3e-4)
    assert float(stretched) == pytest.approx(float(alone) / 3, rel=1e-5)


@pytest.mark.parametrize("width", [1, 3])
def test_noise_comes_from_the_generator_and_inputs_stay(width: int) -> None:
    given = torch.randn(100, width, dtype=torch.float64)
    before_it = given.clone()
    first = kde_peak_density(given, generator=torch.Generator().manual_seed(1))
    before = torch.random.get_rng_state()
    assert kde_peak_density(given, generator=torch.Generator().manual_seed(1)).equal(first)
    assert torch.random.get_rng_state().equal(before)
    assert not kde_peak_density(given, generator=torch.Generator().manual_seed(2)).equal(first)
    assert given.equal(before_it)


@pytest.mark.parametrize("measure", [kde_peak_density, dead_neurons])
@pytest.mark.parametrize(
    ("given", "line"),
    [
        (torch.tensor([[1.0], [torch.nan]]), "activations contains a value that is not finite"),
        (torch.ones(1, 5), "activations has 1 samples; expected 2 or more"),
        (torch.ones(5), r"activations must be \[samples, units\], got \[5\]"),
        (torch.ones(5, 0), "activations has 0 units; expected 1 or more"),
    ],
)
def test_invalid_inputs_raise_one_line(measure: object, given: Tensor, line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        measure(given)  # type: ignore[operator]


def test_invalid_options_raise_one_line() -> None:
    for variance in (-1e-5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="noise_variance"):
            kde_peak_density(torch.randn(5, 2), variance)
    with pytest.raises(ValueError, match="never varies"):
        kde_peak_density(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), noise_variance=0)
    assert kde_peak_density(torch.randn(5, 1)).shape == (1,)  # one unit has a density
