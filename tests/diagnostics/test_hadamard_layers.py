"""Probes inside Hadamard layers: branches and product, on the fused and the plain path."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from hadamax.diagnostics import Layered, Probe, observe
from hadamax.diagnostics.records import Sample
from hadamax.networks import COMBINATIONS, ENCODERS, HadamardConv2d, HadamardLinear, QNetwork, build_encoder
from hadamax.networks.hadamard import combine_ranges

pytestmark = pytest.mark.kernels


def parts(samples: list[Sample], layer: str) -> dict[str, Sample]:
    return {sample.part: sample for sample in samples if sample.layer == layer}


def test_dense_layer_shows_its_branches() -> None:
    torch.manual_seed(0)
    layer, x = HadamardLinear(5, 7, branches=3, activation=("tanh", "sigmoid", "relu")), torch.randn(30, 5)
    found = parts(observe(layer, x), "HadamardLinear")
    assert list(found) == ["branch 1", "branch 2", "branch 3", "output"]
    first, second, third = torch.nn.functional.linear(x, layer.weight, layer.bias).chunk(3, dim=1)
    assert found["branch 1"].activations.equal(first.tanh())
    assert found["branch 2"].activations.equal(second.sigmoid())
    assert found["branch 3"].activations.equal(third.relu())
    assert found["output"].activations.equal(layer(x))
    assert [found[part].range for part in found] == [(-1, 1), (0, 1), (0, math.inf), (-math.inf, math.inf)]


@pytest.mark.parametrize("combine", ["product", "sum"])
def test_convolution_shows_its_branches(combine: str) -> None:
    torch.manual_seed(0)
    layer = HadamardConv2d(3, 4, 3, norm="channels", combine=combine)
    found = parts(observe(layer, torch.randn(30, 3, 6, 6), samples=100), "HadamardConv2d")
    assert list(found) == ["branch 1", "branch 2", "output"]
    one, two = found["branch 1"].activations, found["branch 2"].activations
    assert one.shape == (100, 4)
    assert found["output"].activations.allclose(one * two if combine == "product" else one + two, atol=1e-6)
    assert found["output"].range == ((-1, 1) if combine == "product" else (-2, 2))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_fused_blocks_show_branches_and_product(precision: torch.dtype) -> None:
    """The kernel never stores branches or product; the probe computes them."""
    torch.manual_seed(0)
    network = QNetwork(build_encoder("hadamax", (4, 36, 36), width=0.25, features=16), 3)
    observations = torch.randint(256, (20, 4, 36, 36), dtype=torch.uint8)

    def forward(batch: torch.Tensor) -> Any:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            return network(batch)

    samples = observe(network, observations, forward=forward, samples=200)
    assert [sample.name for sample in samples] == [
        *(f"encoder.blocks.{i}{part}" for i in range(3) for part in (" branch 1", " branch 2", " product", "")),
        "encoder.dense.0",
    ]
    first = parts(samples, "encoder.blocks.0")
    one, two, product = (first[name].activations for name in ("branch 1", "branch 2", "product"))
    assert product.allclose(one * two, rtol=1e-2)
    assert product.shape == (200, 8)
    pooled = first["output"]
    assert pooled.maps is not None
    assert pooled.maps.shape == (20, 8 * 9 * 9)
    assert pooled.maps.dtype == precision
    assert [s.maps is None for s in first.values()] == [True, True, True, False]
    # The output is the pooled product, as the next layer gets it.
    block = network.encoder.blocks[0]
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        whole = block(observations / 255.0)
        anew = block.pool(block.inner_activations(observations / 255.0)["product"][0])
    assert anew.float().allclose(whole.float(), rtol=1e-2, atol=2e-2)
    assert pooled.maps.float().allclose(whole.flatten(1).float(), rtol=1e-2, atol=2e-2)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_has_hidden_layers(name: str) -> None:
    torch.manual_seed(0)
    shape = (6,) if name == "mlp" else (4, 10, 10) if "minatar" in name else (4, 44, 44)
    encoder = build_encoder(name, shape, 1.0, width=0.125)
    samples = observe(encoder, torch.randn(6, *shape))
    layers = {sample.layer for sample in samples}
    for module_name, module in encoder.named_modules():
        if isinstance(module, HadamardLinear):
            assert module_name in layers
        if isinstance(module, HadamardConv2d):
            linear = isinstance(module.activations[0], nn.Identity)
            assert (module_name.removesuffix(".layer") in layers) != linear
    assert samples[-1].activations.shape == (6, encoder.features)
    assert samples[-1].part == "output"
    assert any(sample.maps is not None for sample in samples) == (name != "mlp")
    assert all(torch.isfinite(sample.activations).all() for sample in samples)


def test_closed_probe_leaves_no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    inner = HadamardConv2d.branch_activations
    monkeypatch.setattr(
        HadamardConv2d, "branch_activations", lambda self, x: calls.append("branches") or inner(self, x)
    )
    encoder = build_encoder("hadamax", (4, 36, 36), width=0.125)
    x = torch.zeros(2, 4, 36, 36)
    encoder(x)
    assert not calls
    with Probe(encoder):
        encoder(x)
    assert len(calls) == 3
    encoder(x)
    assert len(calls) == 3


def test_user_layer_with_branches_is_measured() -> None:
    """The protocol is two attribute names; nothing is imported or inherited."""

    class Gate(nn.Module):
        output_range = (0.0, 1.0)

        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gate(x) ** 2

        def inner_activations(self, x: torch.Tensor) -> dict[str, Any]:
            return {"gate": (self.gate(x), (0.0, 1.0))}

    network = nn.Sequential(Gate(), nn.Linear(2, 2))
    assert isinstance(network[0], Layered)
    samples = observe(network, torch.randn(9, 3))
    assert [sample.name for sample in samples] == ["0 gate", "0"]
    assert samples[1].activations.allclose(samples[0].activations ** 2)


@pytest.mark.parametrize(
    ("ranges", "combine", "expected"),
    [
        ([(-1, 1), (-1, 1)], "product", (-1, 1)),
        ([(0, 1), (0, 1)], "product", (0, 1)),
        ([(-1, 1), (0, 1)], "product", (-1, 1)),
        ([(0, math.inf), (0, math.inf)], "product", (0, math.inf)),
        ([(-1, 1), (0, math.inf)], "product", (-math.inf, math.inf)),
        ([(-1, 1)] * 3, "sum", (-3, 3)),
        ([(0, math.inf), (-math.inf, math.inf)], "sum", (-math.inf, math.inf)),
        ([(0, 1)], "product", (0, 1)),
    ],
)
def test_output_ranges_follow_the_activations(ranges: Any, combine: str, expected: tuple[float, float]) -> None:
    assert combine_ranges(ranges, COMBINATIONS[combine]) == expected


def test_probe_keeps_the_fused_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a request for branches, no hook is placed inside a block."""
    encoder = build_encoder("hadamax-light", (4, 36, 36))
    called: list[nn.Module] = []
    monkeypatch.setattr(HadamardConv2d, "forward", lambda self, x, **how: called.append(self))
    with Probe(encoder) as probe:
        encoder(torch.randint(256, (3, 4, 36, 36), dtype=torch.uint8))
    assert probe.samples()
    assert not called


@pytest.mark.parametrize("name", ["hadamax-light", "nature"])
def test_units_within_a_block_are_channels(name: str) -> None:
    """An activation gets channels last, a layer gets them second."""
    encoder = build_encoder(name, (4, 48, 36))
    for inside in ("layer.activations.0", "layer"):
        (*_, sample) = observe(
            encoder, torch.randint(256, (3, 4, 48, 36), dtype=torch.uint8), layers=f"blocks.1.{inside}"
        )
        assert sample.activations.shape[1] == encoder.blocks[1].layer.out_channels
        assert len(sample.activations) % 3 == 0
