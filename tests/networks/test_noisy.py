"""Noisy layers against their explicit weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hadamax.networks import HadamardLinear
from hadamax.networks.noisy import NoisyHadamardLinear, resample_noise

LAYERS: list[dict[str, Any]] = [
    {"branches": 1, "activation": "identity"},
    {"branches": 2, "activation": "tanh"},
    {"branches": 3, "activation": "relu", "norm": "channels", "bias": False},
]


def noisy(**settings: Any) -> NoisyHadamardLinear:
    torch.manual_seed(0)
    layer = NoisyHadamardLinear(5, 4, noise=0.8, **settings).double()
    layer.resample(torch.Generator().manual_seed(1))
    return layer


@pytest.mark.parametrize("settings", LAYERS)
def test_equals_a_linear_layer_with_noisy_weights(settings: dict[str, Any]) -> None:
    layer, x = noisy(**settings), torch.randn(7, 5, dtype=torch.float64)
    plain = HadamardLinear(5, 4, **settings).double()
    state = {name: tensor for name, tensor in layer.state_dict().items() if "sigma" not in name}
    state["weight"] = layer.weight + layer.weight_sigma * torch.outer(layer.noise_out, layer.noise_in)
    if layer.bias is not None:
        state["bias"] = layer.bias + layer.bias_sigma * layer.noise_out
    plain.load_state_dict(state)
    torch.testing.assert_close(layer(x), plain(x))
    assert not torch.allclose(layer(x), layer.eval()(x))


@pytest.mark.parametrize("settings", LAYERS)
def test_equals_a_plain_layer_without_noise(settings: dict[str, Any]) -> None:
    layer = noisy(**settings).eval()
    torch.manual_seed(0)
    plain = HadamardLinear(5, 4, **settings).double()
    x = torch.randn(3, 5, dtype=torch.float64)
    assert torch.equal(layer(x), plain(x))


def test_noise_scale_is_learned() -> None:
    layer = noisy(**LAYERS[0])
    torch.testing.assert_close(layer.weight_sigma, torch.full_like(layer.weight, 0.8 / 5**0.5), rtol=1e-6, atol=0)
    layer(torch.randn(3, 5, dtype=torch.float64)).square().sum().backward()
    for parameter in (layer.weight, layer.weight_sigma, layer.bias, layer.bias_sigma):
        assert parameter is not None
        assert parameter.grad is not None
        assert parameter.grad.any()
    assert set(layer.state_dict()) == {"weight", "bias", "weight_sigma", "bias_sigma"}


def test_noise_is_factorised_signed_roots() -> None:
    layer = NoisyHadamardLinear(20_000, 2, branches=1, activation="identity")
    layer.resample(torch.Generator().manual_seed(0))
    squares = layer.noise_in.sign() * layer.noise_in.square()
    assert squares.mean().item() == pytest.approx(0, abs=0.03)
    assert squares.std().item() == pytest.approx(1, abs=0.03)


def test_resampling_repeats_and_differs() -> None:
    network = torch.nn.Sequential(noisy(**LAYERS[0]), torch.nn.ReLU())
    drawn = []
    for seed in (3, 3, 4):
        resample_noise(network, torch.Generator().manual_seed(seed))
        drawn.append(network[0].noise_in.clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_zero_noise_is_an_error() -> None:
    with pytest.raises(ValueError, match="noise must be a finite number above 0, not 0"):
        NoisyHadamardLinear(2, 2, noise=0)
