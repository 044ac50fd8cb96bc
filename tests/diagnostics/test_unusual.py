"""Diagnostics of unusual networks and passes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde
from torch import Tensor, nn

from hadamax.diagnostics import Probe, kde_peak_density, measure, observe
from hadamax.diagnostics.health import shares
from hadamax.diagnostics.pictures import draw_densities
from hadamax.diagnostics.records import Sample
from hadamax.diagnostics.signs import signs
from hadamax.networks import build_encoder
from hadamax.networks.heads import ValueNetwork


def mlp(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [module for a, b in pairwise(widths) for module in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("number", [50, 2048, 4096])
def test_higher_of_two_similar_modes_is_the_peak(number: int) -> None:
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(0, 0.05, number)
        samples = np.where(np.arange(number) % 2, -1, 1) + noise
        places = np.concatenate([np.linspace(mode - 0.15, mode + 0.15, 1500) for mode in (-1, 1)])
        expected = gaussian_kde(samples)(places).max()
        found = kde_peak_density(torch.tensor(samples)[:, None], 0.0)
        assert found.item() == pytest.approx(expected, rel=1e-3), seed


@pytest.mark.parametrize("value", [0.0, 1e6, 1e20, -1e20])
def test_constant_unit_has_a_sharp_peak_at_any_value(value: float) -> None:
    activations = torch.full((1000, 2), value)
    peaks = kde_peak_density(activations, generator=torch.Generator().manual_seed(0))
    noise = (1e-5**0.5 * torch.randn(activations.shape, generator=torch.Generator().manual_seed(0))).numpy()
    expected = [gaussian_kde(unit)(np.linspace(-0.01, 0.01, 2001)).max() for unit in noise.T]
    np.testing.assert_allclose(peaks, expected, rtol=1e-3)
    assert draw_densities(Sample("1", "output", activations, None, (0.0, float("inf"))), "constant")


def test_passes_in_other_precisions_and_modes() -> None:
    network = mlp(4, 8, 2)
    with Probe(network) as probe:
        with torch.inference_mode():
            network(torch.randn(10, 4))
        with torch.autocast("cpu", torch.bfloat16):
            network(torch.randn(10, 4)).sum().backward()
        network(torch.randn(10, 4))
        network.double()(torch.randn(10, 4, dtype=torch.float64))
        (sample,) = probe.samples()
        before = sample.activations.clone()
        assert (before.shape, before.dtype) == ((40, 8), torch.float32)
        network(torch.randn(5000, 4, dtype=torch.float64))
    assert torch.equal(sample.activations, before)  # a copy: later passes change nothing


def test_maps_of_several_sizes_have_no_rank() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
    with Probe(network) as probe:
        for size in (8, 9, 8):
            network(torch.randn(4, 3, size, size))
    (sample,) = probe.samples()
    assert sample.activations.shape == (3 * 4 * 16, 5)
    assert sample.maps is None


def test_activation_with_two_parents_is_one_layer() -> None:
    shared = nn.ReLU()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Sequential(nn.Linear(8, 16), shared)
            self.b = nn.Sequential(nn.Linear(16, 32), shared)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.b(self.a(x))
            return output

    found = [(sample.layer, sample.activations.shape[1]) for sample in observe(Two(), torch.randn(100, 8))]
    assert found == [("a.1", 16), ("a.1 (call 2)", 32)]


def test_shares_belong_to_the_layer_before_the_outputs() -> None:
    network, observations = mlp(4, 16, 16, 3), torch.randn(300, 4)
    samples = observe(network, observations)
    found = shares(network, samples, observations)
    assert found is not None
    expected = (network(observations) - network[4].bias).mean().item()
    assert sum(found) == pytest.approx(expected, abs=1e-6)
    assert shares(network, observe(network, observations, "1"), observations) is None
    assert shares(mlp(4, 16, 16), observe(mlp(4, 16, 16), observations), observations) is not None
    assert shares(nn.Sequential(network, nn.Softmax(-1)), samples, observations) is None


@pytest.mark.parametrize("head", ["plain", "dueling", "bins"])
def test_only_a_plain_head_has_shares(head: str) -> None:
    encoder = build_encoder("minatar", (4, 10, 10), input_scale=1.0)
    centres = torch.linspace(-1, 1, 5) if head == "bins" else None
    network = ValueNetwork(encoder, 6, dueling=head == "dueling", centres=centres)
    observations = torch.randint(2, (300, 4, 10, 10), dtype=torch.uint8)
    found = shares(network, observe(network, observations), observations)
    assert (found is not None) == (head == "plain")


def test_narrow_layer_of_rank_one_has_collapsed() -> None:
    network = mlp(4, 10, 3)
    with torch.no_grad():
        network[0].weight[:] = network[0].weight[:1]
        network[0].bias[:] = 0
    found = signs(measure(observe(network, torch.randn(100, 4))))
    assert any("collapsed to 1 of 10" in sentence for sentence in found), found
