"""ReDo resets the right units and no others."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hadamax.diagnostics.redo import dormant, redo, saturated, trace
from hadamax.networks import ENCODERS, HadamardLinear, PolicyValueNetwork, build_encoder
from hadamax.networks.heads import ValueNetwork


def plain() -> nn.Sequential:
    """A plain PyTorch network, as users have."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 2 * 2, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


def trained(network: nn.Module, observations: Tensor, kind: type[Any] = torch.optim.Adam) -> Any:
    """Return an optimizer with moments for all weights after one step."""
    optimizer = kind(network.parameters(), lr=1e-2)
    for _ in range(7):
        loss = network(observations).square().sum() + sum(p.square().sum() for p in network.parameters())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return optimizer


def silence(network: nn.Module, name: str, units: list[int]) -> None:
    """Make these ReLU units dead and the others alive through their biases."""
    with torch.no_grad():
        network.get_parameter(f"{name}.weight").abs_()  # observations are positive
        network.get_parameter(f"{name}.bias").fill_(1.0)
        network.get_parameter(f"{name}.bias")[units] = -1e3


def test_dormant_units_by_hand() -> None:
    """Mean |h| of 4, 0.1, 0, 8 averages 3.025: at tau 0.025 the bound is 0.0756."""
    samples = torch.tensor([[4.0, 0.1, 0.0, -8.0], [-4.0, -0.1, 0.0, 8.0]])
    assert dormant(samples, 0.025).tolist() == [False, False, True, False]
    assert dormant(samples, 0.04).tolist() == [False, True, True, False]
    assert dormant(torch.zeros(3, 2), 0.025).tolist() == [True, True]  # an entirely dead layer


def test_saturated_units_have_little_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    alive = torch.rand(300, generator=generator) * 2 - 1
    high = torch.full((300,), 0.99999)
    samples = torch.stack([alive, high, -high, torch.zeros(300)], dim=1)
    assert saturated(samples, 20.0, generator).tolist() == [False, True, True, True]
    assert dormant(samples, 0.025).tolist() == [False, False, False, True]  # the score does not see the ends


def test_reset_changes_only_dormant_units() -> None:
    network, observations = plain(), torch.rand(8, 2, 8, 8)
    optimizer = trained(network, observations)
    silence(network, "0", [1])
    silence(network, "3", [0, 2])
    silence(network, "6", [4])
    before, moments = copy.deepcopy(network), copy.deepcopy(optimizer.state_dict()["state"])
    counts = redo(network, observations, optimizer, generator=torch.Generator().manual_seed(5))
    assert counts == {"0": 1, "3": 2, "6": 1}
    incoming = {"0": [1], "3": [0, 2], "6": [4], "8": []}
    # The dense layer reads maps of 2x2, channel after channel: channel 0 is inputs 0 to 3, channel 2 is 8 to 11.
    outgoing = {"0": [], "3": [1], "6": [0, 1, 2, 3, 8, 9, 10, 11], "8": [4]}
    for number, (name, parameter) in enumerate(network.named_parameters()):
        old, layer = before.get_parameter(name), name.split(".")[0]
        fresh, cut = torch.zeros_like(parameter, dtype=torch.bool), torch.zeros_like(parameter, dtype=torch.bool)
        fresh[incoming[layer]] = True
        if name.endswith("weight"):
            cut[:, outgoing[layer]] = True
        assert (parameter[fresh & ~cut] != old[fresh & ~cut]).all(), name
        assert (parameter[cut] == 0).all(), name
        assert torch.equal(parameter[~fresh & ~cut], old[~fresh & ~cut]), name
        state = optimizer.state[parameter]
        for moment in ("exp_avg", "exp_avg_sq"):
            assert (state[moment][fresh | cut] == 0).all(), name
            assert torch.equal(state[moment][~fresh & ~cut], moments[number][moment][~fresh & ~cut]), name
            assert (state[moment][~fresh & ~cut] != 0).any()
        assert state["step"] == moments[number]["step"]
    bound = 1 / np.sqrt(2 * 9)  # drawn by PyTorch's initialiser
    assert network.get_parameter("0.weight")[1].abs().max() <= bound
    assert network(observations).isfinite().all()


def test_healthy_network_is_unchanged() -> None:
    network, observations = plain(), torch.rand(8, 2, 8, 8)
    for name in "036":
        silence(network, name, [])
    before = copy.deepcopy(network.state_dict())
    assert set(redo(network, observations, tau=0.0).values()) == {0}
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_resetting_a_dead_unit_keeps_the_outputs() -> None:
    """A dead ReLU gives zero, so zeroing its outgoing weights changes no output; afterwards it can learn again."""
    revived = 0
    for seed in range(10):
        network, observations = plain(), torch.rand(8, 2, 8, 8)
        for name, units in (("0", []), ("3", []), ("6", [4])):
            silence(network, name, units)
        before = network(observations)
        generator = torch.Generator().manual_seed(seed)
        assert redo(network, observations, generator=generator) == {"0": 0, "3": 0, "6": 1}
        torch.testing.assert_close(network(observations), before)
        network(observations).square().sum().backward()
        gradient = network.get_parameter("8.weight").grad
        assert gradient is not None
        revived += bool(gradient[:, 4].any())
    assert 2 <= revived <= 8  # a reset unit may be dead again, since its weights have both signs


def test_resets_draw_from_the_given_generator() -> None:
    def reset(seed: int) -> Tensor:
        network = plain()
        silence(network, "6", [4])
        redo(network, torch.rand(8, 2, 8, 8), generator=torch.Generator().manual_seed(seed))
        return network.get_parameter("6.weight")[4]

    torch.manual_seed(3)
    torch.rand(8, 2, 8, 8)
    after_observations = torch.rand(1)
    network = plain()
    silence(network, "6", [4])
    torch.manual_seed(3)
    redo(network, torch.rand(8, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.rand(1), after_observations)
    assert torch.equal(reset(0), reset(0))
    assert not torch.equal(reset(0), reset(1))


@pytest.mark.parametrize("flatten", ["chw", "hwc"])
def test_channels_are_traced_through_both_flatten_orders(flatten: str) -> None:
    """Channel 1 is dead, so exactly its flattened inputs are zero in a batch."""
    name = "hadamax" if flatten == "hwc" else "nature"
    torch.manual_seed(0)
    encoder = build_encoder(name, (1, 40, 40), width=0.125, activation="relu", branches=1, norm=None)
    network = ValueNetwork(encoder, 3)
    observations = torch.randint(0, 256, (6, 1, 40, 40), dtype=torch.uint8)
    last = f"encoder.blocks.{len(encoder.blocks) - 1}"
    silence(network, f"{last}.layer", [1])
    (hidden,) = [h for h in trace(network, observations, "chw", network) if h.name == last]
    read: list[Tensor] = []
    encoder.dense[0].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    network(observations)
    assert torch.equal((hidden.samples == 0).all(0).nonzero().flatten(), torch.tensor([1]))
    dead = (read[0] == 0).all(0)
    assert torch.equal(hidden.owners == 1, dead)
    assert dead.sum() == len(dead) // len(set(hidden.owners.tolist()))


def test_all_branches_and_the_norm_of_a_unit_are_reset() -> None:
    torch.manual_seed(0)
    layer = HadamardLinear(4, 3, branches=2, activation="relu", norm="channels")
    network = nn.Sequential(layer, nn.Linear(3, 2))
    with torch.no_grad():
        layer.norm.weight.fill_(2.0)
        layer.norm.bias[:, 1] = -1e3
    before = copy.deepcopy(layer)
    assert redo(network, torch.randn(20, 4)) == {"0": 1}
    changed = (layer.weight != before.weight).all(1)
    assert changed.tolist() == [False, True, False, False, True, False]
    assert layer.norm.weight.tolist() == [[2, 1, 2], [2, 1, 2]]
    assert layer.norm.bias[:, 1].tolist() == [0, 0]
    assert (network[1].weight[:, 1] == 0).all()
    assert (network[1].weight[:, [0, 2]] != 0).all()


def test_crelu_units_are_reset_with_both_outputs() -> None:
    torch.manual_seed(0)
    layer = HadamardLinear(4, 3, branches=1, activation="crelu")
    network = nn.Sequential(layer, nn.Linear(6, 2))
    with torch.no_grad():
        layer.weight[2], layer.bias[2] = 0.0, 0.0
    assert redo(network, torch.randn(20, 4)) == {"0": 1}
    assert (network[1].weight == 0).all(0).tolist() == [False, False, True] * 2


@pytest.mark.parametrize("branches", [1, 2])
def test_saturated_tanh_units_are_reset(branches: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(HadamardLinear(4, 3, branches=branches, activation="tanh"), nn.Linear(3, 2))
    with torch.no_grad():
        network[0].bias[1::3] = 50.0  # of unit 1, in every branch
    assert redo(network, torch.randn(100, 4), generator=torch.Generator().manual_seed(0)) == {"0": 1}
    assert (network[1].weight == 0).all(0).tolist() == [False, True, False]


def test_outgoing_weights_of_policy_and_value_are_zeroed() -> None:
    torch.manual_seed(0)
    network = PolicyValueNetwork(build_encoder("mlp", (4,), 1.0), 3)
    silence(network, "encoder.dense.1", [7])
    redo(network, torch.randn(30, 4), tau=0.0, run=network.policy_and_value)
    assert not network.policy.weight[:, 7].any()
    assert not network.value.weight[:, 7].any()
    assert network.value.weight[:, 6].any()


SHAPES = {"mlp": (8,), "minatar": (4, 10, 10), "hadamax-minatar": (4, 10, 10)}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_learns_after_a_reset(name: str) -> None:
    torch.manual_seed(0)
    shape = SHAPES.get(name, (4, 84, 84))
    encoder = build_encoder(name, shape, width=0.05)
    network = ValueNetwork(encoder, 3, members=2, dueling=True)
    observations = torch.randint(0, 256, (4, *shape), dtype=torch.uint8)
    optimizer = trained(network, observations, torch.optim.RAdam)
    counts = redo(network, observations, optimizer, tau=0.5)  # so that some units of most layers are
    hidden = len(encoder.spec.blocks) + len(encoder.spec.dense) if name != "impala" else 5 * 2 + 1
    assert len(counts) == hidden
    assert sum(counts.values()) > 0
    trained(network, observations, torch.optim.RAdam)
    assert network(observations).isfinite().all()


def test_errors_name_the_problem() -> None:
    with pytest.raises(ValueError, match="tau must be 0 or more, got -1"):
        redo(plain(), torch.rand(8, 2, 8, 8), tau=-1)
    with pytest.raises(ValueError, match='flatten "whc" is unknown; expected chw or hwc'):
        redo(plain(), torch.rand(8, 2, 8, 8), flatten="whc")

    class Wide(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[1](torch.cat([self[0](x), x], dim=1))

    with pytest.raises(ValueError, match=r"layer 1 reads \[5, 7\]; expected the 4 outputs of layer 0"):
        redo(Wide(nn.Linear(3, 4), nn.Linear(7, 2)), torch.rand(5, 3))
