"""A probe beside copies, pickles, other probes, checkpointing and function transforms."""

from __future__ import annotations

import copy
import gc
import io
import pickle
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from tests.diagnostics.networks import mlp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hadamax.diagnostics import Probe, observe


def runs_compiled() -> bool:
    """Return True if calling the module runs compiled code."""
    calls = 0

    def backend(graph: Any, inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        return graph.forward

    torch.compile(nn.Linear(2, 2), backend=backend)(torch.randn(1, 2))
    torch.compiler.reset()
    return calls > 0


def test_copies_are_not_probed() -> None:
    network, x = mlp(), torch.randn(10, 4)
    with Probe(network) as probe:
        network(x)
        copies = [copy.deepcopy(network), pickle.loads(pickle.dumps(network))]
        file = io.BytesIO()
        torch.save(network, file)
        file.seek(0)
        copies.append(torch.load(file, weights_only=False))
        for other in copies:
            assert other(x).equal(network.eval()(x))
    for other in copies:
        other(x)
        assert pickle.dumps(other)
        assert copy.deepcopy(other)(x).equal(network(x))
    assert [sample.activations.shape[0] for sample in probe.samples()] == [40, 40]  # the network's own four passes
    with Probe(copies[0]) as of_the_copy:
        copies[0](x)
    assert of_the_copy.samples()[0].activations.shape == (10, 16)


def test_probes_close_in_any_order() -> None:
    first, second = Probe(mlp()), Probe(compiled := torch.compile(mlp(), backend="eager"))
    first.attach()
    second.attach()
    first.detach()
    compiled(torch.randn(5, 4))
    assert [sample.layer for sample in second.samples()] == ["1", "4"]
    assert not runs_compiled()
    second.detach()
    assert runs_compiled()


def test_unreferenced_probe_removes_its_hooks() -> None:
    network = mlp()
    probe = Probe(network).attach()
    assert network[1]._forward_hooks
    del probe
    gc.collect()
    assert not any(module._forward_hooks for module in network.modules())
    assert runs_compiled()


class Agent(nn.Module):
    """A module without forward, as in CleanRL, and one ReLU used at two widths."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide, self.relu = nn.Linear(4, 8), nn.Linear(8, 16), nn.ReLU()

    def get_value(self, x: Tensor) -> Tensor:
        return self.relu(self.wide(self.relu(self.narrow(x))))


def test_direct_layer_calls_are_grouped_by_width() -> None:
    agent = Agent()
    with Probe(agent) as probe:
        for _ in range(2):
            value = agent.get_value(torch.randn(30, 4))
    narrow, wide = probe.samples()
    assert (narrow.layer, narrow.activations.shape) == ("relu", (60, 8))
    assert (wide.layer, wide.activations.shape) == ("relu (16 units)", (60, 16))
    assert wide.activations[30:].equal(value)


def test_recomputed_activations_are_recorded_once() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = checkpoint(self.body, x, use_reentrant=False)
            return output

    network = Checkpointed()
    with Probe(network) as probe:
        network(torch.randn(20, 4)).sum().backward()
    assert [(s.layer, len(s.activations)) for s in probe.samples()] == [("body.1", 20), ("body.4", 20)]


def test_transform_is_reported_and_still_runs() -> None:
    network, x = mlp(), torch.randn(6, 5, 4)
    with Probe(network) as probe:
        output = torch.func.vmap(network)(x)
    assert output.allclose(network(x), atol=1e-6)
    with pytest.raises(TypeError, match=r"^layer 1: it runs inside a transform of torch.func \(vmap, grad\)"):
        probe.samples()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_network_is_a_one_line_error() -> None:
    with pytest.raises(ValueError, match=r"^layers: a scripted network cannot be probed; probe the original module"):
        Probe(torch.jit.script(mlp()))
    part = nn.Sequential(torch.jit.script(nn.Linear(4, 3)), nn.ReLU())
    with Probe(part) as probe:
        part(torch.randn(5, 4))
    assert probe.samples()[0].activations.shape == (5, 3)
    with pytest.raises(ValueError, match=r"^layers: 0 is scripted and cannot be probed"):
        Probe(part, "0")


class Join(nn.Module):
    def forward(self, parts: Any) -> Tensor:
        return torch.cat([parts.x, parts.y], 1)


def test_observations_of_several_parts() -> None:
    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()

        def forward(self, observations: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"q": self.body(torch.cat([observations["a"], observations["b"]], dim=1))}

    network, x = Policy(), torch.randn(600, 4)
    expected = observe(network.body, x)
    parts = {"a": x[:, :1], "b": x[:, 1:].numpy()}
    for ours, theirs in zip(observe(network, parts), expected, strict=True):
        assert ours.activations.allclose(theirs.activations, atol=1e-6)
    assert observe(network, parts, "body")[0].activations.shape == (600, 3)
    (whole,) = [s for s in observe(network, parts, Policy)]  # a dict of one
    assert whole.activations.shape == (600, 3)
    with pytest.raises(ValueError, match=r"^observations have parts of 600 and 5 rows$"):
        observe(network, {**parts, "a": x[:5, :1]})
    pair = namedtuple("pair", ["x", "y"])
    joined = nn.Sequential(Join(), network.body)
    (ours, *_) = observe(joined, pair(x[:, :1], np.flip(x[:, 1:].double().numpy(), 0)), "1.1")
    theirs = observe(network.body, torch.cat([x[:, :1], x[:, 1:].flip(0)], 1))[0]
    assert ours.activations.allclose(theirs.activations, atol=1e-6)
    with pytest.raises(TypeError, match=r"^observations must be a tensor, an array, or a dict or tuple of"):
        observe(mlp(), [[0.0] * 4])
