"""Fused RAdam against PyTorch's in float64."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hadamax.kernels import RAdam


def parameters(dtype: torch.dtype) -> list[nn.Parameter]:
    """Return parameters of several layouts: large, with incomplete vectors, channels-last, scalar."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((300, 131), (7,), (5, 3, 4, 4), (1,))
    values = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    values[2] = values[2].contiguous(memory_format=torch.channels_last)
    return [nn.Parameter(value) for value in values]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    size = 0.0 if step == 3 else 10.0 ** (step % 5 - 3)
    return [size * torch.randn(p.shape, generator=generator) for p in parameters(torch.float32)]


def give(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for p, value in zip(parameters, values, strict=True):
        p.grad = torch.empty_like(p).copy_(value)


@pytest.mark.parametrize(("kernels", "threads"), [("auto", 1), ("auto", 2), ("reference", 1)])
def test_equals_pytorch(kernel: None, kernels: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADAMAX_KERNELS", kernels)
    torch.set_num_threads(threads)
    ours, theirs = parameters(torch.float32), parameters(torch.float64)
    fast, plain = RAdam(ours, lr=1e-3), torch.optim.RAdam(theirs, lr=1e-3)
    clipped = set()
    for step in range(30):  # the first five are not rectified
        give(ours, gradients(step))
        give(theirs, gradients(step))
        norm = fast.clip_and_step(1.0)
        wanted = nn.utils.clip_grad_norm_(theirs, 1.0)
        plain.step()
        clipped.add(bool(wanted > 1))
        torch.testing.assert_close(norm.double(), wanted, rtol=1e-6, atol=0)
    assert clipped == {True, False}
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.double(), q, rtol=1e-6, atol=1e-6)
        for name in ("exp_avg", "exp_avg_sq"):
            scale = plain.state[q][name].abs().max().item()
            torch.testing.assert_close(fast.state[p][name].double(), plain.state[q][name], rtol=1e-5, atol=1e-6 * scale)


def test_gradient_norm_does_not_depend_on_threads(kernel: None) -> None:
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ours = parameters(torch.float32)
        optimizer = RAdam(ours, lr=1e-3)
        for step in range(7):
            give(ours, gradients(step))
            optimizer.clip_and_step(0.5)
        results.append(ours)
    for p, q in zip(*results, strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_state_equals_pytorchs(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADAMAX_KERNELS", kernels)
    ours = parameters(torch.float32)
    optimizer = RAdam(ours, lr=1e-3)
    give(ours, gradients(0))
    optimizer.clip_and_step(1.0)
    twins = copy.deepcopy(ours)
    twin = torch.optim.RAdam(twins, lr=1e-3)
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(1, 9):
        for mine in (ours, twins):
            give(mine, gradients(step))
        optimizer.clip_and_step(1.0)
        nn.utils.clip_grad_norm_(twins, 1.0)
        twin.step()
    for p, q in zip(ours, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_loaded_moments_take_the_layout_of_their_weights(kernel: None) -> None:
    """A file stores them in index order, whatever the weights' memory format."""
    results = []
    for reload_at in (None, 4, 7):
        ours = parameters(torch.float32)
        optimizer = RAdam(ours, lr=1e-3)
        for step in range(10):
            if step == reload_at:
                state = copy.deepcopy(optimizer.state_dict())
                for moments in state["state"].values():
                    moments.update({name: value.contiguous() for name, value in moments.items()})
                optimizer = RAdam(ours, lr=1e-3)
                optimizer.load_state_dict(state)
            give(ours, gradients(step))
            optimizer.clip_and_step(1.0)
        results.append(ours)
    for other in results[1:]:
        for p, q in zip(results[0], other, strict=True):
            assert torch.equal(p, q)


def test_gradient_with_an_infinite_norm_changes_nothing(kernel: None) -> None:
    """As in PyTorch: the gradient scaled by an infinite norm is zero."""
    ours = parameters(torch.float32)
    optimizer = RAdam(ours, lr=1e-3)
    give(ours, gradients(0))
    assert ours[1].grad is not None
    ours[1].grad[3] = 2e19
    before = [p.detach().clone() for p in ours]
    assert optimizer.clip_and_step(1.0).isposinf()
    assert all(torch.equal(p, q) for p, q in zip(ours, before, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_gradients_reach_the_weights(kernel: None, bad: float) -> None:
    ours = parameters(torch.float32)
    optimizer = RAdam(ours, lr=1e-3)
    for step in range(8):
        give(ours, gradients(step))
        assert optimizer.clip_and_step(1.0).isfinite()
    give(ours, gradients(9))
    ours[1].grad[3] = bad
    assert not optimizer.clip_and_step(1.0).isfinite()
    assert ours[1].isnan().any()


def test_gradients_of_another_layout(kernel: None) -> None:
    ours, theirs = parameters(torch.float32), parameters(torch.float32)
    fast, plain = RAdam(ours, lr=1e-3), torch.optim.RAdam(theirs, lr=1e-3)
    for step in range(8):
        for mine in (ours, theirs):
            give(mine, gradients(step))
            mine[0].grad = mine[0].grad.T.contiguous().T
        fast.clip_and_step(1.0)
        nn.utils.clip_grad_norm_(theirs, 1.0)
        plain.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("change", ["shape", "bfloat16", "float64"])
def test_moments_of_wrong_shape_raise_as_in_pytorch(kernel: None, change: str) -> None:
    """Memory beyond them is not touched."""
    network = nn.Linear(512, 18)
    optimizer = RAdam(network.parameters(), lr=0.1)
    for _ in range(2):
        network(torch.randn(4, 512)).square().mean().backward()
        optimizer.clip_and_step(1.0)
    for moments in optimizer.state.values():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name] = moments[name][:6].clone() if change == "shape" else moments[name].to(getattr(torch, change))
    before = network.weight.detach().clone()
    network(torch.randn(4, 512)).square().mean().backward()
    with pytest.raises(RuntimeError):
        optimizer.clip_and_step(1.0)
    assert torch.equal(network.weight, before)


def test_backward_after_a_step_is_an_error(kernel: None) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = RAdam(network.parameters(), lr=0.1)
    first, second = (network(torch.randn(5, 3)).square().mean() for _ in "ab")
    first.backward()
    optimizer.clip_and_step(1.0)
    with pytest.raises(RuntimeError, match="inplace"):
        second.backward()


@pytest.mark.parametrize("setting", [{"weight_decay": 0.3}, {"maximize": True}])
def test_unsupported_loaded_setting_is_an_error(setting: dict[str, Any]) -> None:
    network = nn.Linear(3, 4)
    theirs, ours = torch.optim.RAdam(network.parameters(), lr=0.1, **setting), RAdam(network.parameters(), lr=0.1)
    ours.load_state_dict(theirs.state_dict())
    network(torch.randn(5, 3)).square().mean().backward()
    with pytest.raises(ValueError, match=next(iter(setting))):
        ours.clip_and_step(1.0)
    ours = RAdam(network.parameters(), lr=0.1)
    ours.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    with pytest.raises(ValueError, match="one group"):
        ours.clip_and_step(1.0)
