"""Hooks, parametrizations and replaced modules of an encoder work although fused passes call no module."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm

from hadamax.networks import Encoder, HadamardConv2d, build_encoder, fast_path
from hadamax.networks.norms import Norm, NormSetting, make_norm

pytestmark = pytest.mark.kernels

SHAPE = (4, 36, 36)
INSIDE = ("layer", "layer.norm", "layer.activations.0", "layer.activations.1", "pool")


def made(name: str = "hadamax-light", **settings: Any) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(name, SHAPE, **settings)


def seen(rows: int = 3) -> Tensor:
    return torch.randint(256, (rows, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def plainly(encoder: Encoder, x: Tensor, patch: pytest.MonkeyPatch) -> Tensor:
    with patch.context() as without:
        without.setenv("HADAMAX_KERNELS", "reference")
        features: Tensor = encoder(x)
        return features


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("inside", INSIDE)
def test_hook_is_called_once_with_the_whole_batch(inside: str, pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, calls = made(), []
    expected = encoder(seen())
    if pieces:
        monkeypatch.setattr(fast_path, "BACKWARD_CHUNK_BYTES", 1)
    module = encoder.blocks[0].get_submodule(inside)
    module.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    torch.testing.assert_close(encoder(seen()), expected, rtol=1e-4, atol=1e-4)
    assert calls == [3]


@pytest.mark.parametrize("inside", INSIDE)
def test_hook_may_change_the_output(inside: str) -> None:
    encoder = made()
    module = encoder.blocks[0].get_submodule(inside)

    def bend(module: nn.Module, inputs: Any, output: Any) -> Any:  # the next norm would undo a scale
        return tuple(map(torch.cos, output)) if isinstance(output, tuple) else output.cos()

    before = encoder(seen())
    handle = module.register_forward_hook(bend)
    assert not torch.allclose(encoder(seen()), before, rtol=1e-2, atol=1e-3)
    handle.remove()
    assert torch.equal(encoder(seen()), before)


def test_gradient_hook_is_called() -> None:
    encoder, calls = made(), Counter[str]()
    for inside in ("layer", "layer.activations.1", "pool"):
        module = encoder.blocks[1].get_submodule(inside)
        module.register_full_backward_hook(lambda module, into, out, name=inside: calls.update([name]))
    encoder(seen()).sum().backward()
    assert calls == {"layer": 1, "layer.activations.1": 1, "pool": 1}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_hook_on_all_blocks_is_called(dtype: torch.dtype) -> None:
    encoder, shapes = made(), []
    encoder.blocks.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    encoder(seen().to(dtype))
    ((rows, channels, *_),) = shapes
    assert (rows, channels) == (3, encoder.blocks[-1].out_channels)


def test_blocks_may_move_to_another_container() -> None:
    encoder = made()
    expected = encoder(seen())
    encoder.blocks = nn.Sequential(*encoder.blocks)
    torch.testing.assert_close(encoder(seen()), expected, rtol=1e-4, atol=1e-4)


def pruned(layer: HadamardConv2d) -> None:
    prune.l1_unstructured(layer, "weight", amount=0.6)


def old_spectral(layer: HadamardConv2d) -> None:
    spectral_norm(layer)


def new_spectral(layer: HadamardConv2d) -> None:
    parametrizations.spectral_norm(layer)


def weight_normed(layer: HadamardConv2d) -> None:
    parametrizations.weight_norm(layer)


@pytest.mark.parametrize("name", ["hadamax-light", "nature-norm", "nature"])
@pytest.mark.parametrize("change", [pruned, old_spectral, new_spectral, weight_normed])
def test_parametrized_weights_learn(
    change: Callable[[HadamardConv2d], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training step from the same state gives the result of the reference."""
    found = []
    for kernels in ("auto", "reference"):
        monkeypatch.setenv("HADAMAX_KERNELS", kernels)
        encoder = made(name, width=0.5)
        untouched = encoder(seen())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the old spectral norm is deprecated
            for block in list(encoder.blocks)[:2]:
                change(block.layer)
        optimizer = torch.optim.SGD(encoder.parameters(), 1e-3)
        features = encoder(seen())
        if change is pruned:  # the others only scale weights, which the norm undoes
            assert (features - untouched).abs().max() > 1e-3
        features.square().mean().backward()
        optimizer.step()
        found.append((features.detach(), encoder(seen()).detach()))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


class Noise(nn.Module):
    """Another weight at every look."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def forward(self, weight: Tensor) -> Tensor:
        self.looks += 1
        return weight + torch.randn_like(weight)


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_weight_drawn_at_every_look_is_cached_parametrization(
    dtype: torch.dtype, hooked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that every piece of a batch, forward and backward, meets the same."""
    monkeypatch.setattr(fast_path, "BACKWARD_CHUNK_BYTES", 1)
    encoder, noises = made(), [Noise(), Noise()]
    for block, noise in zip(encoder.blocks, noises, strict=False):
        parametrize.register_parametrization(block.layer, "weight", noise)
        if hooked:
            block.layer.register_forward_hook(lambda *call: None)
    for noise in noises:
        noise.looks = 0
    equal = seen(1).expand(5, -1, -1, -1).to(dtype)
    features = encoder(equal)
    features.sum().backward()
    torch.testing.assert_close(features, features[:1].expand(5, -1), rtol=1e-4, atol=1e-4)
    assert [noise.looks for noise in noises] == [1, 1]
    assert not torch.allclose(encoder(equal), features, rtol=1e-2)


def test_threads_do_not_share_cached_weights() -> None:
    """Two threads overlap all the time, and each sees its own changed weight."""
    encoders = [made(), made()]
    for encoder in encoders:
        parametrizations.weight_norm(encoder.blocks[0].layer)
    differ: list[bool] = []
    done = threading.Event()

    def act(encoder: Encoder) -> None:
        while not done.is_set():
            encoder(seen())

    other = threading.Thread(target=act, args=(encoders[1],))
    other.start()
    for _ in range(20):
        before = encoders[0](seen())
        with torch.no_grad():
            encoders[0].blocks[0].layer.parametrizations.weight.original1.neg_()
        differ.append(not torch.equal(encoders[0](seen()), before))
    done.set()
    other.join()
    assert all(differ)


@pytest.mark.parametrize("norm", [None, "map", Norm("channels", False, 0.5)])
def test_replaced_norm_is_used(norm: NormSetting, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = made()
    before = encoder(seen())
    for block in encoder.blocks:
        layer = block.layer
        layer.norm = make_norm(norm, layer.branches, layer.out_channels, spatial=True)
    after = encoder(seen())
    assert (after - before).abs().max() > 1e-2
    torch.testing.assert_close(after, plainly(encoder, seen(), monkeypatch), rtol=1e-4, atol=1e-4)


def test_bytes_on_the_meta_device() -> None:
    encoder = made().to("meta")
    assert encoder(seen().to("meta")).shape == (3, encoder.features)
