"""HL-Gauss histograms by hand, against numerical integration, and their properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor

from hadamax.functional import bin_centres, hl_gauss, hl_gauss_value

CENTRES = bin_centres(-10, 10, 51).double()
WIDTH = 0.4
SIGMA = 0.75 * WIDTH


def mean(histogram: Tensor) -> Tensor:
    return (histogram * CENTRES).sum(-1)


def test_bin_centres_are_even_and_reach_both_ends() -> None:
    torch.testing.assert_close(CENTRES.diff(), torch.full((50,), WIDTH, dtype=torch.float64), rtol=0, atol=1e-5)
    assert (CENTRES[0], CENTRES[-1]) == (-10, 10)
    assert CENTRES[25].item() == pytest.approx(0, abs=1e-12)


def test_histogram_by_hand() -> None:
    """Three bins of width 2, sigma 2: the normal mass of -3..-1, -1..1, 1..3 for a target of 0."""
    histogram = hl_gauss(torch.zeros(()), bin_centres(-2, 2, 3), sigma=1.0)
    inner, outer = 0.3829249, 0.2417303
    expected = torch.tensor([outer, inner, outer]) / (inner + 2 * outer)
    torch.testing.assert_close(histogram, expected)


@pytest.mark.parametrize("target", [-10.0, -9.9, -3.21, 0.0, 0.2, 7.77, 10.0])
def test_histogram_equals_numerical_integration(target: float) -> None:
    density = stats.norm(target, SIGMA).pdf
    masses = [integrate.quad(density, c - WIDTH / 2, c + WIDTH / 2)[0] for c in CENTRES.tolist()]
    expected = torch.tensor(masses, dtype=torch.float64) / sum(masses)
    histogram = hl_gauss(torch.tensor(target, dtype=torch.float64), CENTRES)
    torch.testing.assert_close(histogram, expected, rtol=0, atol=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_histogram_is_a_distribution_for_any_target(targets: list[float]) -> None:
    histogram = hl_gauss(torch.tensor(targets), CENTRES.float())
    assert histogram.shape == (len(targets), 51)
    assert (histogram >= 0).all()
    torch.testing.assert_close(histogram.sum(-1), torch.ones(len(targets)))


def test_mean_is_the_target_inside_the_support() -> None:
    targets = torch.linspace(-8.8, 8.8, 1801, dtype=torch.float64)
    torch.testing.assert_close(mean(hl_gauss(targets, CENTRES)), targets, rtol=0, atol=4e-6)


def test_mean_near_an_end_is_monotonic() -> None:
    targets = torch.linspace(9, 10, 101, dtype=torch.float64)
    means = mean(hl_gauss(targets, CENTRES))
    assert (means.diff() > 0).all()
    assert 9.8 < means[-1] < 10


def test_targets_outside_the_support_are_clipped() -> None:
    inside, outside = torch.tensor([-10.0, 10.0]), torch.tensor([-1e9, 1e9])
    assert torch.equal(hl_gauss(inside, CENTRES.float()), hl_gauss(outside, CENTRES.float()))


def test_value_inverts_the_histogram() -> None:
    targets = torch.tensor([[-8.0, 0.3], [1.25, 7.5]], dtype=torch.float64)
    logits = hl_gauss(targets, CENTRES).clamp(min=1e-300).log() + 5
    torch.testing.assert_close(hl_gauss_value(logits, CENTRES), targets, rtol=0, atol=1e-5)


def test_cross_entropy_is_minimal_at_the_target() -> None:
    target = torch.tensor(2.3, dtype=torch.float64)
    logits = torch.zeros(51, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(200):
        loss = -(hl_gauss(target, CENTRES) * logits.log_softmax(-1)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert hl_gauss_value(logits, CENTRES).item() == pytest.approx(2.3, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-10, 10, 1), "bins must be 2 or more, got 1"),
        ((10, 10, 51), "low must be below high, both finite, got 10 and 10"),
        ((10, -10, 51), "low must be below high, both finite, got 10 and -10"),
        ((0, float("inf"), 51), "low must be below high, both finite, got 0 and inf"),
    ],
)
def test_invalid_bins_are_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bin_centres(*arguments)


def test_invalid_histograms_are_errors() -> None:
    with pytest.raises(ValueError, match="sigma must be above 0, got 0"):
        hl_gauss(torch.zeros(2), CENTRES.float(), 0.0)
    with pytest.raises(ValueError, match=r"centres \[bins\] of two bins or more expected, got \[1\]"):
        hl_gauss(torch.zeros(2), torch.zeros(1))
