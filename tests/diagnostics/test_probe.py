"""A probe records the outputs of layers of any network and leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.diagnostics.networks import Functional, ResNet, TwoLayers, is_among, mlp
from torch import Tensor, nn

from hadamax.diagnostics import Probe, observe
from hadamax.diagnostics.records import POSITIONS, Sample


def named(samples: list[Sample]) -> dict[str, Sample]:
    assert len({sample.name for sample in samples}) == len(samples)
    return {sample.name: sample for sample in samples}


def traces(network: nn.Module) -> list[Any]:
    """Return all module attributes that a hook could change."""
    found: list[Any] = []
    for module in network.modules():
        found.append({k: dict(v) if isinstance(v, dict) else v for k, v in module.__dict__.items() if k != "training"})
    return found


def test_records_layer_outputs() -> None:
    network, x = mlp(), torch.randn(50, 4)
    with Probe(network) as probe:
        network(x[:30])
        network(x[30:])
    samples = named(probe.samples())
    first = network[1](network[0](x)).detach()
    second = network[4](network[3](first)).detach()
    assert list(samples) == ["1", "4"]
    assert samples["1"].activations.equal(first)
    assert samples["4"].activations.equal(second)
    assert [(s.maps, s.range, s.part) for s in samples.values()] == [(None, (-1.0, 1.0), "output")] * 2


def test_sample_is_bounded_and_repeats() -> None:
    network, x = mlp(), torch.randn(1000, 4)

    def record(seed: int) -> dict[str, Sample]:
        with Probe(network, samples=64, seed=seed) as probe:
            for batch in x.split(70):
                network(batch)
        return named(probe.samples())

    samples = record(1)
    first = network[1](network[0](x)).detach()
    assert samples["1"].activations.shape == (64, 16)
    assert is_among(samples["1"].activations, first)
    # Both layers show the same observations.
    assert network[4](network[3](samples["1"].activations)).allclose(samples["4"].activations, atol=1e-6)
    assert record(1)["1"].activations.equal(samples["1"].activations)
    assert not record(2)["1"].activations.equal(samples["1"].activations)


def test_leaves_no_trace() -> None:
    network, x = ResNet(), torch.randn(8, 3, 32, 32)
    reference = ResNet()
    reference.load_state_dict(network.state_dict())
    before, random = traces(network), torch.random.get_rng_state()
    probe = Probe(network)
    assert traces(network) == before
    with probe:
        assert traces(network) != before
        with pytest.raises(RuntimeError, match="attached already"):
            probe.attach()
        loss = network(x).square().mean()
        loss.backward()
    assert torch.random.get_rng_state().equal(random)
    expected = reference(x).square().mean()
    expected.backward()
    assert loss.equal(expected)
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        assert ours.grad is not None
        assert ours.grad.equal(theirs.grad)
        ours.grad = None
    for ours, theirs in zip(network.buffers(), reference.buffers(), strict=True):
        assert ours.equal(theirs)
    probe.detach()  # closing twice has no effect
    counts = [s.activations.shape for s in probe.samples()]
    network(x)
    assert [s.activations.shape for s in probe.samples()] == counts
    after = traces(network)
    assert [set(a) for a in after] == [set(b) for b in before]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_always_called", "_forward_hooks_with_kwargs")
    for module in network.modules():
        assert not any(getattr(module, name) for name in hooks)
    probe.clear()
    with pytest.raises(ValueError, match=r"no layer of .* was called while the probe was attached"):
        probe.samples()


def test_network_error_passes_through() -> None:
    network = mlp()
    with pytest.raises(RuntimeError, match="mat1 and mat2"), Probe(network) as probe:
        network(torch.randn(2, 5))
    assert not any(module._forward_hooks for module in network.modules())
    with probe:
        network(torch.randn(2, 4))
    assert list(named(probe.samples())) == ["1", "4"]


def test_module_used_twice_is_measured_per_call() -> None:
    network = ResNet().eval()
    with Probe(network, "layer1.0.relu") as probe:
        network(torch.randn(4, 3, 32, 32))
        network(torch.randn(4, 3, 32, 32))
    samples = named(probe.samples())
    assert list(samples) == ["layer1.0.relu", "layer1.0.relu (call 2)"]
    assert all(sample.activations.shape == (8 * POSITIONS, 8) for sample in samples.values())
    with Probe(network, "layer1.0.relu") as probe:
        network.layer1[0](torch.randn(4, 8, 5, 5))  # a part alone: calls are indistinguishable
    assert list(named(probe.samples())) == ["layer1.0.relu"]


def test_autocast_outputs_are_measured() -> None:
    network, x = mlp(), torch.randn(20, 4)
    with Probe(network) as probe, torch.autocast("cpu", torch.bfloat16):
        network(x)
    with Probe(network) as reference:
        network(x)
    for ours, theirs in zip(probe.samples(), reference.samples(), strict=True):
        assert ours.activations.dtype == torch.bfloat16
        assert ours.activations.float().allclose(theirs.activations, atol=0.03)


@torch.no_grad()
@pytest.mark.parametrize("how", ["torch.compile", "module.compile", "inner"])
def test_compiled_network_is_measured_and_stays_compiled(how: str) -> None:
    """Hooks added after compilation run; afterwards the compiled graph runs again without recompiling."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        def run(*values: Any) -> Any:
            graphs.append(1)
            return graph.forward(*values)

        return run

    torch._dynamo.reset()
    plain, x = TwoLayers(), torch.randn(20, 4)
    network: Any = TwoLayers()
    if how == "torch.compile":
        network = torch.compile(network, backend=backend)
    elif how == "module.compile":
        network.compile(backend=backend)
    else:
        network.layers[3] = torch.compile(network.layers[3], backend=backend)
    expected = plain(x)
    assert network(x).allclose(expected)
    runs = len(graphs)
    assert runs > 0
    with Probe(network) as probe:
        assert network(x).allclose(expected)
    assert len(graphs) == runs, "while it is attached the graph is not used"
    with Probe(plain) as reference:
        plain(x)
    assert list(named(probe.samples())) == list(named(reference.samples()))
    for ours, theirs in zip(probe.samples(), reference.samples(), strict=True):
        assert ours.activations.allclose(theirs.activations)
    assert network(x).allclose(expected)
    assert len(graphs) == 2 * runs, "the graph that was there is used again"
    torch._dynamo.reset()


def test_observe_keeps_modes_and_random_state() -> None:
    network, x = mlp(dropout=0.5), torch.randn(600, 4)
    network[0].eval()
    modes, random = [m.training for m in network.modules()], torch.random.get_rng_state()
    samples = named(observe(network, x))
    assert [m.training for m in network.modules()] == modes
    assert torch.random.get_rng_state().equal(random)
    network.eval()
    assert samples["4"].activations.allclose(network[4](network[3](network[1](network[0](x)))), atol=1e-6)
    assert samples["4"].activations.shape == (600, 8)
    calls: list[int] = []
    observe(network, x, forward=lambda batch: calls.append(len(batch)) or network(batch), layers=nn.Tanh)
    assert calls == [256, 256, 88]
    with pytest.raises(ValueError, match="observations are empty"):
        observe(network, x[:0])


NAMES = r"expected one of Sequential, 0 \(Linear\), 1 \(Tanh\), 2 \(Dropout\), 3 \(Linear\), 4 \(Tanh\), 5 \(Linear\)$"


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        ("encoder", f"^layers: 'encoder' matches nothing; {NAMES}"),
        (["1", "7*"], rf"^layers: '7\*' matches nothing; {NAMES}"),
        (nn.ReLU, f"^layers: ReLU matches nothing; {NAMES}"),
        ([], "^layers: empty"),
    ],
)
def test_unknown_names_are_errors(layers: Any, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Probe(mlp(), layers)


def test_layers_by_name_pattern_type_and_default() -> None:
    def chosen(network: nn.Module, layers: Any = None) -> list[str]:
        return list(Probe(network, layers).layers)

    assert chosen(mlp(), "1") == ["1"]
    assert chosen(mlp(), ["4", "0"]) == ["0", "4"]
    assert chosen(mlp(), nn.Linear) == ["0", "3", "5"]
    assert chosen(mlp(), ["0", nn.Tanh]) == ["0", "1", "4"]
    assert chosen(ResNet(), "layer*.relu") == ["layer1.0.relu", "layer1.1.relu", "layer2.0.relu"]
    assert chosen(ResNet()) == ["relu", "layer1.0.relu", "layer1.1.relu", "layer2.0.relu"]
    assert chosen(Functional()) == ["body", "head"]
    assert chosen(nn.Tanh()) == ["Tanh"]
    with pytest.raises(ValueError, match="LayerNorm has no activation, recurrent, linear or convolution modules"):
        Probe(nn.LayerNorm(3))
    with pytest.raises(ValueError, match="samples 1 is too small"):
        Probe(mlp(), samples=1)


class Argmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(dim=1)


def test_unmeasurable_outputs_do_not_stop_training() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), Argmax())
    with Probe(network, ["1", "2"]) as probe:
        assert network(torch.randn(2, 3)).shape == (2,)
    with pytest.raises(TypeError, match=r"^layer 2: its output is not a tensor of floating-point numbers"):
        probe.samples()
