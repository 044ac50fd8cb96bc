"""Units and samples by output shape: maps, sequences, recurrent states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.diagnostics.networks import is_among
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from hadamax.diagnostics import Probe, observe
from hadamax.networks import HadamardLinear


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_units_of_a_convolution_are_channels(memory_format: torch.memory_format) -> None:
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


def test_positions_are_sampled_evenly() -> None:
    """Each of 20 positions is equally likely and appears at most once per map."""
    places = torch.arange(20.0).view(1, 1, 4, 5).expand(2000, 1, 4, 5)
    maps = torch.cat([places, torch.arange(2000.0).view(-1, 1, 1, 1).expand(2000, 1, 4, 5)], dim=1)
    (sample,) = observe(nn.Sequential(nn.ReLU()), maps, samples=2000 * 16)
    assert len(sample.activations.unique(dim=0)) == 2000 * 16
    counts = torch.bincount(sample.activations[:, 0].long(), minlength=20)
    assert (counts - 1600).abs().max() < 5 * (2000 * 0.8 * 0.2) ** 0.5
    one = observe(nn.Sequential(nn.ReLU()), maps[:, :, :1, :1], samples=5000)[0]
    assert one.activations.shape == (2000, 2)


def test_fewer_large_maps_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hadamax.diagnostics.records.MOST_MAP_NUMBERS", 1000)
    (sample,) = observe(nn.Sequential(nn.ReLU()), torch.randn(30, 2, 5, 5))
    assert sample.maps is not None
    assert sample.maps.shape == (20, 50)


def test_units_of_other_shapes() -> None:
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
    """Swap time and units around a module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mT


def test_layers_after_a_1d_convolution_have_channels_first() -> None:
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


class Does(nn.Module):
    """A plain function between modules."""

    def __init__(self, does: Callable[..., Any]) -> None:
        super().__init__()
        self.does = does

    def forward(self, x: Any) -> Any:
        return self.does(x)


class Twice(nn.Module):
    """Two convolutions over time, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv1d(4, 8, 1), nn.Conv1d(4, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.left(x), self.right(x)], dim=1)


class Pooled(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean((2, 3))


class Patches(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).flatten(2).mT


CHANNELS_LAST = (nn.Conv2d(3, 6, 4, 4), Does(lambda x: x.permute(0, 2, 3, 1)), nn.LayerNorm(6), nn.Linear(6, 24))


@pytest.mark.parametrize(
    ("modules", "shape", "layer", "expected"),
    [
        ((*CHANNELS_LAST, nn.GELU()), (7, 3, 20, 20), "4", (7 * 25, 24)),
        (CHANNELS_LAST, (7, 3, 20, 20), "2", (7 * 25, 6)),
        (CHANNELS_LAST, (7, 3, 20, 20), "3", (7 * 25, 24)),
        ((nn.Linear(4, 8), nn.ReLU()), (16, 5, 3, 4), "*", (240, 8)),
        ((HadamardLinear(4, 8),), (2, 3, 5, 4), "*", (30, 8)),
        ((Twice(), nn.ReLU()), (10, 4, 20), "1", (160, 16)),
        ((nn.Conv1d(4, 16, 1), nn.GLU(dim=1)), (10, 4, 20), "1", (160, 8)),
        ((nn.Conv2d(4, 16, 1), nn.Flatten(2), nn.ReLU()), (9, 4, 5, 6), "2", (9 * 16, 16)),
        ((nn.Conv2d(4, 16, 1), Does(lambda x: x.flatten(2).mT), nn.ReLU()), (9, 4, 5, 6), "2", (270, 16)),
        ((nn.Conv2d(3, 6, 3), nn.ReLU()), (3, 10, 12), "*", (16, 6)),
        ((nn.Conv2d(3, 6, 3), Does(lambda x: x.unflatten(0, (2, 5))), nn.ReLU()), (10, 3, 5, 5), "2", (90, 6)),
        ((nn.Conv2d(3, 6, 3), nn.Flatten(), nn.ReLU()), (10, 3, 5, 5), "2", (10, 54)),
        ((nn.Linear(3, 24), nn.Unflatten(1, (6, 2, 2)), nn.ReLU()), (10, 3), "2", (40, 6)),
        ((nn.Conv3d(2, 5, 1), nn.ReLU()), (4, 2, 2, 3, 2), "1", (48, 5)),
        ((nn.ConvTranspose2d(2, 5, 2), nn.ReLU()), (4, 2, 2, 2), "1", (36, 5)),
        ((nn.Linear(4, 8), nn.ReLU()), (4,), "*", (1, 8)),
        # An axis that has the told size by chance.
        ((nn.Conv2d(4, 64, 1), nn.GLU(dim=1)), (2, 4, 64, 64), "1", (32, 32)),
        ((nn.Conv2d(4, 64, 1), nn.PixelShuffle(2), nn.ReLU()), (2, 4, 32, 32), "2", (32, 16)),
        ((nn.Linear(16, 128), nn.GLU()), (10, 128, 16), "1", (1280, 64)),
        ((nn.Linear(4, 16), Does(lambda x: x.mT), nn.BatchNorm1d(16), nn.ReLU()), (9, 16, 4), "3", (144, 16)),
        # Subclasses with other outputs, norms, scalars.
        ((Pooled(3, 8, 3), nn.ReLU()), (4, 3, 8, 8), "*", (4, 8)),
        ((Patches(3, 16, 4, 4), nn.ReLU()), (5, 3, 8, 8), "0", (20, 16)),
        ((Patches(3, 16, 4, 4), nn.ReLU()), (5, 3, 8, 8), "1", (20, 16)),
        ((nn.BatchNorm1d(6), nn.Conv1d(6, 8, 1), nn.ReLU()), (4, 6, 20), "0", (64, 6)),
        ((nn.GroupNorm(2, 6), nn.ReLU()), (4, 6, 5, 5), "*", (64, 6)),
        ((nn.Linear(4, 1), nn.Flatten(0), nn.Tanh()), (30, 4), "2", (30, 1)),
    ],
)
def test_unit_axis_by_layer_type(
    modules: tuple[nn.Module, ...], shape: tuple[int, ...], layer: str, expected: tuple[int, int]
) -> None:
    network = nn.Sequential(*modules)
    with Probe(network, layer) as probe:
        output = network(torch.randn(shape))
    sample = next(sample for sample in probe.samples() if sample.part == "output")
    assert sample.activations.shape == expected
    if layer in ("*", str(len(modules) - 1)) and output.ndim > 1:  # each unit has distinct values
        axis = next(axis for axis in range(-output.ndim, 0) if output.shape[axis] == expected[1])
        assert is_among(sample.activations, output.detach().movedim(axis, -1).reshape(-1, expected[1]))


def test_norm_decides_an_ambiguous_unit_axis() -> None:
    (sample,) = observe(nn.Sequential(*CHANNELS_LAST[:3], nn.SiLU()), x := torch.randn(7, 3, 24, 24), "3")
    output = nn.Sequential(*CHANNELS_LAST[:3], nn.SiLU())(x).detach()
    assert output.shape == (7, 6, 6, 6)
    assert sample.activations.equal(output.reshape(-1, 6))


def test_unit_axis_is_decided_per_pass() -> None:
    network = nn.Sequential(nn.Hardtanh(), nn.Conv2d(3, 8, 8, 8), nn.Flatten(), nn.Linear(512, 64))
    with Probe(network, "0") as probe:
        for _ in range(3):
            network(torch.randn(4, 3, 64, 64))
    (sample,) = probe.samples()
    assert sample.activations.shape == (192, 3)


def test_maps_with_as_many_rows_as_channels() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.more, self.relu = nn.Conv2d(64, 32, 3, padding=1), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.relu(torch.cat([x, self.more(x)], 1))
            return output

    (sample,) = observe(Dense(), torch.randn(4, 64, 32, 32))
    assert sample.activations.shape == (64, 96)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_recurrent_layers_are_hidden_layers() -> None:
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.cell, self.q = nn.LSTM(4, 8), nn.GRUCell(8, 5), nn.Linear(5, 2)

        def forward(self, x: Any) -> torch.Tensor:
            outputs, _ = self.rnn(x)
            state = None
            for output in outputs if isinstance(outputs, torch.Tensor) else [outputs.data]:
                state = self.cell(output, state)
            value: torch.Tensor = self.q(state)
            return value

    network = Memory()
    with Probe(network) as probe:
        network(torch.randn(60, 3, 4))
    rnn, cell = probe.samples()
    assert (rnn.layer, rnn.activations.shape, rnn.range) == ("rnn", (180, 8), (-1.0, 1.0))
    with Probe(nn.Sequential(stepped := nn.LSTM(4, 8), Does(lambda _: stepped(torch.randn(1, 3, 4))[0]))) as probe:
        probe.network(torch.randn(1, 3, 4))
    assert [(s.layer, s.activations.shape) for s in probe.samples()] == [("0", (6, 8))]
    assert (cell.layer, cell.activations.shape) == ("cell", (180, 5))  # a step of a sequence is not a layer
    with Probe(network, "rnn") as probe:
        network(pack_padded_sequence(torch.randn(6, 3, 4), torch.tensor([6, 4, 1])))
    assert probe.samples()[0].activations.shape == (11, 8)  # without the padding
    for module, expected in (
        (nn.RNN(2, 3, nonlinearity="relu"), (0.0, float("inf"))),
        (nn.RNNCell(2, 3, nonlinearity="relu"), (0.0, float("inf"))),
        (nn.RNN(2, 3), (-1.0, 1.0)),
        (nn.LSTM(2, 3, proj_size=2), (-float("inf"), float("inf"))),
    ):
        (sample,) = observe(module, torch.randn(4, 2))
        assert sample.range == expected


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_transformer_padding_is_not_measured() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.GELU(), batch_first=True)
    network = nn.TransformerEncoder(layer, 2).eval()
    x, padding = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([5, 3, 1])[:, None]
    with torch.no_grad():
        expected = network(x, src_key_padding_mask=padding)
        with Probe(network, ["layers.0", "layers.1"]) as probe:
            assert network(x, src_key_padding_mask=padding).equal(expected)
    first, second = probe.samples()
    assert first.activations.shape == second.activations.shape == (9, 8)
    assert is_among(second.activations, expected.reshape(-1, 8))
