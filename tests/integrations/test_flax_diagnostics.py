"""Diagnostics of Flax modules against those of the same network in PyTorch and against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("flax", reason="needs the extra: pip install 'hadamax-rl[flax]'")

import flax.linen as nn
import jax

import hadamax
from hadamax.diagnostics import measure, observe
from hadamax.integrations.flax import HadamardDense, QNetwork, build_encoder
from hadamax.integrations.flax_diagnostics import activations
from hadamax.integrations.flax_weights import torch_state
from hadamax.networks import QNetwork as TorchQNetwork

pytestmark = pytest.mark.extra("flax")


def test_equal_those_of_the_pytorch_network() -> None:
    settings: dict[str, Any] = {"activation": "tanh", "branches": 2}
    seen = np.random.default_rng(0).integers(0, 256, (30, 10, 12, 4), dtype=np.uint8)
    network = QNetwork(build_encoder("minatar", (10, 12, 4), **settings), 3)
    variables = network.init(jax.random.key(0), seen)
    assert list(variables) == ["params"], "what is sown is no part of the weights"
    like = TorchQNetwork(hadamax.build_encoder("minatar", (4, 10, 12), **settings), 3)
    like.load_state_dict(torch_state(variables, like.encoder))
    images = torch.from_numpy(seen).movedim(-1, 1)
    theirs = [health for health in measure(observe(like, images)) if health.part == "output"]
    ours = measure(activations(network, variables, seen))
    assert [health.layer for health in ours] == ["encoder.blocks.0", "encoder.dense.0"]
    for mine, expected in zip(ours, theirs, strict=True):
        for name, value in expected._asdict().items():
            assert getattr(mine, name) == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name


class Own(nn.Module):
    @nn.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        assert not train
        x = nn.tanh(nn.Dense(8, name="zz")(x))
        self.sow("intermediates", "hidden", x)
        layer = HadamardDense(8, activation="sigmoid")
        return layer(layer(x))


def test_sown_values_and_hadamard_layers_in_call_order() -> None:
    x = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)  # more than a batch
    module = Own()
    variables = module.init(jax.random.key(0), x, train=False)
    found = activations(module, variables, x, {"hidden": (-1.0, 1.0)}, train=False)
    assert [sample.layer for sample in found] == ["hidden", "HadamardDense_0", "HadamardDense_0 (call 2)"]
    assert [sample.range for sample in found] == [(-1.0, 1.0), (0.0, 1.0), (0.0, 1.0)]
    params = variables["params"]["zz"]
    expected = np.tanh(x @ np.asarray(params["kernel"]) + np.asarray(params["bias"]))
    np.testing.assert_allclose(np.sort(found[0].activations, 0), np.sort(expected, 0), atol=1e-6)


def test_plain_layers_without_hadamard_layers() -> None:
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.Conv(3, (2, 2), name="conv")(x))
            return nn.Dense(2, name="out")(x.reshape(len(x), -1))

    x = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype(np.float32)
    found = activations(Plain(), Plain().init(jax.random.key(0), x), x)
    assert [(sample.layer, sample.activations.shape[1]) for sample in found] == [("conv", 3), ("out", 2)]
    assert found[0].maps is not None
    assert found[0].maps.shape == (4, 3 * 5 * 6)


def test_nothing_to_measure_is_a_one_line_error() -> None:
    class Nothing(nn.Module):
        def __call__(self, x: Any) -> Any:
            return x + 1

    with pytest.raises(ValueError, match="Nothing has no layer to measure; sow one"):
        activations(Nothing(), {}, np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match="observations are empty"):
        activations(Nothing(), {}, np.ones((0, 2), np.float32))
