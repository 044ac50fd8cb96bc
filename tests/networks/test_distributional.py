"""Categorical and Rainbow networks: mean values, dueling streams, encoders."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hadamax.networks import HadamardLinear, QNetwork, build_encoder
from hadamax.networks.distributional import Categorical, CategoricalNetwork, RainbowNetwork
from hadamax.networks.noisy import NoisyHadamardLinear

ATOMS: dict[str, Any] = {"num_atoms": 5, "v_min": -2.0, "v_max": 2.0}


def small(name: str = "nature", **options: Any) -> Any:
    return build_encoder(name, (4, 44, 44), width=0.125, **options)


def observations(batch: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 4, 44, 44), dtype=torch.uint8)


def test_value_is_the_mean_of_the_distribution() -> None:
    atoms = Categorical(5, -2.0, 2.0)
    assert atoms.support.tolist() == [-2, -1, 0, 1, 2]
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.3, 0.1]])
    assert atoms(probabilities.log()).item() == pytest.approx(-0.2 - 0.2 + 0.3 + 0.2)


@pytest.mark.parametrize(("atoms", "low", "high"), [(1, 0.0, 1.0), (5, 1.0, 1.0), (5, 2.0, 1.0)])
def test_invalid_supports_are_errors(atoms: int, low: float, high: float) -> None:
    with pytest.raises(ValueError, match=r"num_atoms|v_min"):
        Categorical(atoms, low, high)


def test_values_follow_from_the_distributions() -> None:
    network, x = CategoricalNetwork(small(), 6, **ATOMS), observations()
    logits = network.logits(x)
    assert logits.shape == (3, 6, 5)
    expected = (logits.softmax(dim=2) * torch.linspace(-2, 2, 5)).sum(dim=2)
    torch.testing.assert_close(network(x), expected)


def test_dueling_streams_add_up() -> None:
    network, x = RainbowNetwork(small(), 6, noise=0.0, **ATOMS), observations()
    flat = network.trunk(x)
    value, advantage = network.value(flat).view(3, 1, 5), network.advantage(flat).view(3, 6, 5)
    torch.testing.assert_close(network.logits(x), value + advantage - advantage.mean(dim=1, keepdim=True))
    torch.testing.assert_close(network.logits(x).mean(dim=1), value.squeeze(1))


def test_rainbow_without_dueling_and_noise_is_the_plain_network() -> None:
    """Equal weights give equal values: C51's with atoms, DQN's with one."""
    encoder, x = small(activation="tanh", branches=2, layers="last"), observations()
    for plain, rainbow in (
        (CategoricalNetwork(encoder, 6, **ATOMS), RainbowNetwork(encoder, 6, dueling=False, noise=0.0, **ATOMS)),
        (QNetwork(encoder, 6), RainbowNetwork(encoder, 6, dueling=False, noise=0.0, num_atoms=1)),
    ):
        rainbow.trunk.blocks.load_state_dict(encoder.blocks.state_dict())
        rainbow.advantage.hidden.load_state_dict(encoder.dense.state_dict())
        rainbow.advantage.head.load_state_dict(plain.head.state_dict())
        torch.testing.assert_close(rainbow(x), plain(x))


def test_each_stream_has_a_hadamard_layer() -> None:
    network = RainbowNetwork(small(activation="tanh", branches=2, layers="last"), 6)
    for stream in (network.value, network.advantage):
        (hidden,) = stream.hidden
        assert isinstance(hidden, NoisyHadamardLinear)
        assert hidden.branches == 2
        assert isinstance(stream.head, NoisyHadamardLinear)
    quiet = RainbowNetwork(small(), 6, noise=0.0)
    assert not any(isinstance(module, NoisyHadamardLinear) for module in quiet.modules())
    assert isinstance(quiet.advantage.head, HadamardLinear)


def test_crelu_layer_is_twice_as_wide() -> None:
    network = RainbowNetwork(small(activation="crelu", layers="last"), 6)
    assert network.value.head.in_features == 128
    assert network(observations()).shape == (3, 6)


@pytest.mark.parametrize("name", ["nature", "nature-norm", "hadamax", "hadamax-c51", "impala"])
def test_values_are_float32_under_bfloat16_autocast(name: str) -> None:
    x = observations()
    for network in (CategoricalNetwork(small(name), 6, **ATOMS), RainbowNetwork(small(name), 6, **ATOMS)):
        exact = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = network(x)
        assert exact.dtype == narrow.dtype == torch.float32
        torch.testing.assert_close(narrow, exact, atol=0.1, rtol=0)
        narrow.sum().backward()
        assert all(p.grad is not None for p in network.parameters())


def test_vector_observations() -> None:
    encoder = build_encoder("mlp", (4,), input_scale=1.0)
    network = RainbowNetwork(encoder, 2)
    assert len(network.trunk.dense) == 1
    assert network(torch.randn(5, 4)).shape == (5, 2)
