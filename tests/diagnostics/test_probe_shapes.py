"""What counts as units and as samples, by the shape of what a layer gives: maps, sequences, states."""

from __future__ import annotations

import pytest
import torch
from tests.diagnostics.networks import is_among
from torch import nn

from hadamax.diagnostics import Probe, observe


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_convolutions_units_are_channels(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()).to(memory_format=memory_format)
    x = torch.randn(40, 3, 9, 8).to(memory_format=memory_format)
    (sample,) = observe(network, x, samples=300, map_samples=16)
    maps = network(x).detach()
    pixels = maps.movedim(1, -1).reshape(-1, 5)
    assert sample.activations.shape == (300, 5)
    assert is_among(sample.activations, pixels)
    assert sample.maps is not None
    assert sample.maps.shape == (16, 5 * 7 * 6)
    assert is_among(sample.maps, maps.flatten(1))
    assert sample.range == (0.0, float("inf"))


def test_positions_are_spread_evenly() -> None:
    """Each of 20 positions is as likely as any other, and none comes twice from one map."""
    places = torch.arange(20.0).view(1, 1, 4, 5).expand(2000, 1, 4, 5)
    maps = torch.cat([places, torch.arange(2000.0).view(-1, 1, 1, 1).expand(2000, 1, 4, 5)], dim=1)
    (sample,) = observe(nn.Sequential(nn.ReLU()), maps, samples=2000 * 16)
    assert len(sample.activations.unique(dim=0)) == 2000 * 16
    counts = torch.bincount(sample.activations[:, 0].long(), minlength=20)
    assert (counts - 1600).abs().max() < 5 * (2000 * 0.8 * 0.2) ** 0.5
    one = observe(nn.Sequential(nn.ReLU()), maps[:, :, :1, :1], samples=5000)[0]
    assert one.activations.shape == (2000, 2)


def test_large_maps_are_kept_in_smaller_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hadamax.diagnostics.probe.MOST_MAP_NUMBERS", 1000)
    (sample,) = observe(nn.Sequential(nn.ReLU()), torch.randn(30, 2, 5, 5))
    assert sample.maps is not None
    assert sample.maps.shape == (20, 50)


def test_other_shapes() -> None:
    attention = nn.Sequential(nn.Linear(6, 7), nn.GELU())
    (sample,) = observe(attention, torch.randn(10, 4, 6))  # [batch, time, units]
    assert sample.activations.shape == (40, 7)
    sequence = nn.Sequential(nn.Conv1d(3, 5, 2))
    (sample,) = observe(sequence, torch.randn(10, 3, 9))  # [batch, channels, time]
    assert sample.activations.shape == (80, 5)
    assert sample.maps is not None
    assert sample.maps.shape == (10, 40)
    recurrent = nn.LSTM(3, 5)
    with Probe(recurrent, nn.LSTM) as probe:
        recurrent(torch.randn(6, 2, 3))
    assert probe.samples()[0].activations.shape == (12, 5)
    with Probe(network := nn.Sequential(nn.Embedding(3, 2), nn.Flatten()), "0") as probe:
        network(torch.tensor([[0, 1], [2, 0]]))
    assert probe.samples()[0].activations.shape == (4, 2)


class Transposed(nn.Module):
    """Time and units the other way round, for what stands between."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mT


def test_what_follows_a_convolution_over_time_has_its_channels_first() -> None:
    network = nn.Sequential(
        *(nn.Conv1d(3, 5, 2), nn.BatchNorm1d(5), nn.ReLU()),  # [batch, 5 channels, 8]
        *(Transposed(), nn.GELU()),  # [batch, 8, 5 units]
        *(nn.Linear(5, 8), nn.Tanh()),  # [batch, 8, 8 units]
    )
    x = torch.randn(10, 3, 9)
    relu, gelu, tanh = observe(network, x)
    assert relu.activations.shape == gelu.activations.shape == (80, 5)
    assert tanh.activations.shape == (80, 8)
    assert (gelu.maps, tanh.maps) == (None, None)
    assert relu.maps is not None
    assert torch.equal(relu.maps.unflatten(1, (5, 8)), network.eval()[:3](x))
    assert not network[0]._forward_hooks
