"""The linear head and the Q-network."""

import pytest
import torch

from hadamax.networks import QHead, QNetwork, build_encoder


def test_head_is_linear() -> None:
    head = QHead(2, 3)
    head.load_state_dict({"weight": torch.tensor([[1.0, 0], [0, 2], [1, 1]]), "bias": torch.tensor([0.0, 1, -1])})
    assert head(torch.tensor([[3.0, 4.0]])).tolist() == [[3.0, 9.0, 6.0]]


def test_head_takes_the_initialiser_of_its_encoder() -> None:
    torch.manual_seed(0)
    flax = QNetwork(build_encoder("hadamax", (4, 32, 32), width=0.25, features=400), 50).head
    assert not flax.bias.any()
    assert flax.weight.var().item() == pytest.approx(1 / 400, rel=0.05)
    torch_default = QNetwork(build_encoder("nature", width=0.1, features=400), 50).head
    assert torch_default.bias.all()
    assert torch_default.weight.abs().max().item() == pytest.approx(1 / 20, rel=0.01)


@pytest.mark.parametrize("name", ["hadamax", "hadamax-c51", "impala"])
def test_values_are_float32_and_close_under_bfloat16_autocast(name: str) -> None:
    torch.manual_seed(0)
    network = QNetwork(build_encoder(name, (4, 40, 40), width=0.25), 6)
    observations = torch.randint(0, 256, (2, 4, 40, 40), dtype=torch.uint8)
    exact = network(observations)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network.encoder(observations).dtype == torch.bfloat16
        narrow = network(observations)
    assert exact.dtype == narrow.dtype == torch.float32
    assert exact.shape == (2, 6)
    torch.testing.assert_close(narrow, exact, atol=0.1, rtol=0)
    assert not torch.equal(narrow, narrow.bfloat16().float())  # the head did not round
    narrow.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


def test_double_network_takes_bytes_and_floats() -> None:
    network = QNetwork(build_encoder("nature", width=0.1), 4).double()
    observations = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    values = network(observations)
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, network(observations.double()), rtol=0, atol=0)


def test_zero_actions_is_an_error() -> None:
    with pytest.raises(ValueError, match="num_actions must be 1 or more, not 0"):
        QHead(2, 0)
