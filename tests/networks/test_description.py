"""A network built from another's description is the same network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hadamax.networks import (
    ENCODERS,
    CategoricalNetwork,
    PolicyValueNetwork,
    QNetwork,
    RainbowNetwork,
    ValueNetwork,
    build_encoder,
    describe,
    network_from,
)
from hadamax.networks.norms import Norm

ATOMS = {"num_atoms": 7, "v_min": -0.1, "v_max": 0.7}  # 0.1 is not exact in float32; the support must still round-trip
HEADS: list[tuple[Any, dict[str, Any]]] = [
    (QNetwork, {}),
    (PolicyValueNetwork, {}),
    (CategoricalNetwork, ATOMS),
    (ValueNetwork, {}),
    (ValueNetwork, {"members": 3, "dueling": True, "centres": torch.linspace(-0.1, 0.7, 5), "sigma": 0.5}),
    (RainbowNetwork, ATOMS),
    (RainbowNetwork, {"dueling": False, "noise": 0.0, "num_atoms": 1}),
]
SHAPES = {"mlp": (5,), "minatar": (4, 10, 10), "hadamax-minatar": (4, 10, 10)}
SHAPES |= dict.fromkeys(("hadamax-minatar-no-pool", "hadamax-minatar-average-pool"), (4, 10, 10))


@pytest.fixture(scope="module", autouse=True)
def plain() -> Iterator[None]:
    """Nothing is compiled for networks this many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HADAMAX_KERNELS", "reference")
        yield


def check(network: nn.Module, encoder: Any, num_actions: int) -> nn.Module:
    """Round-trip through JSON; the new network has the same weight names and, with the weights, the same outputs."""
    description = json.loads(json.dumps(describe(network, encoder, num_actions), allow_nan=False))
    made = network_from(description)
    made.load_state_dict(network.state_dict())
    x = torch.randint(0, 256, (3, *encoder.observation_shape), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(made.eval()(x), network.eval()(x))
    assert describe(made, encoder, num_actions) == describe(network, encoder, num_actions)
    return made


@pytest.mark.parametrize(("kind", "options"), HEADS)
def test_description_of_every_head(kind: Any, options: dict[str, Any]) -> None:
    encoder = build_encoder("mlp", (5,), 1.0, features=8)
    network = kind(encoder, 3, **options)
    made = check(network, encoder, 3)
    buffers = dict(network.named_buffers())
    assert buffers.keys() == dict(made.named_buffers()).keys()
    assert all(torch.equal(x, buffers[name]) for name, x in made.named_buffers() if "noise" not in name)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_description_of_every_encoder(name: str) -> None:
    encoder = build_encoder(name, SHAPES.get(name, (4, 84, 84)), 255.0, width=0.125)
    check(RainbowNetwork(encoder, 2, num_atoms=3), encoder, 2)


@given(
    name=st.sampled_from(["nature", "hadamax", "impala", "minatar", "mlp"]),
    activation=st.sampled_from(["tanh", "crelu", "rational", ("tanh", "sigmoid")]),
    combine=st.sampled_from(["product", "sum"]),
    norm=st.sampled_from([None, "channels", "map", Norm("channels", False, 1e-3)]),
    last=st.booleans(),
    scale=st.sampled_from([255.0, 256.0, 1000.0]),  # smaller scales overflow on bytes
)
def test_description_of_every_variation(
    name: str, activation: Any, combine: str, norm: Any, last: bool, scale: float
) -> None:
    varied: dict[str, Any] = {"activation": activation, "branches": 2, "combine": combine, "norm": norm}
    layers = "last" if last else "all"
    encoder = build_encoder(name, SHAPES.get(name, (4, 40, 40)), scale, **varied, layers=layers, width=0.0625)
    check(QNetwork(encoder, 4), encoder, 4)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"kind": "transformer"}, 'kind "transformer" is unknown'),
        ({"kind": None}, "kind must be a name"),
        ({"bonus": 1}, "missing or too many: bonus"),
        ({"flatten": "sideways"}, "flatten"),
        ({"num_actions": 0}, "num_actions must be 1 or more, not 0"),
        ({"input_scale": -1}, "input_scale"),
        ({"observation_shape": [4]}, "HadamardLinear|observation_shape|features"),
        ({"settings": {"code": "import os"}}, "code"),
        ({"dense": [{"layer": "os.system"}]}, 'layer "os.system" is unknown'),
        ({"dense": [{"layer": "dense", "features": 8, "colour": 1}]}, "colour is not a setting of a Dense layer"),
        ({"dense": [{"layer": "conv", "channels": 8, "kernel": 3}]}, "a dense layer must be a Dense"),
        ({"dense": [{"layer": "dense", "features": 8, "activation": "tahn"}]}, 'did you mean "tanh"'),
    ],
)
def test_invalid_descriptions_are_errors(change: dict[str, Any], line: str) -> None:
    encoder = build_encoder("mlp", (5,), 1.0, features=8)
    description = describe(QNetwork(encoder, 3), encoder, 3)
    if change == {"observation_shape": [4]}:  # a description of another network
        other = network_from({**description, **change})
        assert other.state_dict().keys() == network_from(description).state_dict().keys()
        return
    with pytest.raises((TypeError, ValueError), match=line) as caught:
        network_from({**description, **change})
    assert "\n" not in str(caught.value)


def test_description_of_another_kind_is_an_error() -> None:
    encoder = build_encoder("mlp", (5,), 1.0, features=8)
    with pytest.raises(TypeError, match=r"network must be one of q, value, .*, not Linear"):
        describe(nn.Linear(2, 3), encoder, 3)
