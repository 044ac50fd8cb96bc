"""A block computed piece by piece equals the whole block."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from hadamax.networks import build_encoder, fast_path
from hadamax.networks.encoders import Encoder
from hadamax.networks.hadamard import HadamardConv2d

pytestmark = pytest.mark.kernels

SHAPE = (4, 21, 19)


def learn(encoder: Encoder, x: Tensor) -> list[Tensor]:
    """Return the features and the gradients of a weighted sum."""
    features = encoder(x)
    weights = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
    return [features.detach(), *torch.autograd.grad((features * weights).sum(), list(encoder.parameters()))]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of rows of each convolution."""
    seen: list[int] = []
    convolve = HadamardConv2d.convolve

    def watched(self: HadamardConv2d, x: Tensor, *, scale: float | None = None) -> Tensor:
        seen.append(len(x))
        return convolve(self, x, scale=scale)

    monkeypatch.setattr(HadamardConv2d, "convolve", watched)
    return seen


@pytest.mark.parametrize("name", ["hadamax", "hadamax-c51", "hadamax-deep", "nature-norm", "hadamax-fast"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_pieces_equal_the_whole(
    name: str, dtype: torch.dtype, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    shape = (4, 44, 40) if name in ("nature-norm", "hadamax-deep") else SHAPE
    encoder = build_encoder(name, shape).double()
    x = torch.randint(256, (7, *shape)).to(dtype)
    whole = learn(encoder, x)
    assert set(calls) == {7}
    calls.clear()
    # One row of the largest first block here, three of the smallest.
    monkeypatch.setattr(fast_path, "BACKWARD_CHUNK_BYTES", 70_000)
    pieces = learn(encoder, x)
    assert min(calls) < 7
    assert len(calls) > len(encoder.blocks)
    for ours, expected in zip(pieces, whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_pieces_have_at_least_one_row_and_inference_uses_one_piece(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "BACKWARD_CHUNK_BYTES", 1)
    encoder = build_encoder("hadamax", SHAPE)
    x = torch.randint(256, (5, *SHAPE), dtype=torch.uint8)
    pieces = encoder(x)
    assert set(calls) == {1}
    calls.clear()
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), pieces)
    assert set(calls) == {5}
    empty = encoder(x[:0])
    assert empty.shape == (0, 512)


def test_pieces_stay_below_the_memory_limit(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = build_encoder("hadamax", (4, 84, 84))
    row = 64 * 84 * 84 * 4
    monkeypatch.setattr(fast_path, "BACKWARD_CHUNK_BYTES", 2 * row)
    encoder(torch.randint(256, (5, 4, 84, 84), dtype=torch.uint8))
    assert calls[:3] == [2, 2, 1]  # of the first block


def test_replaced_activation_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the reference, in the encoder and in a copy of it."""
    torch.manual_seed(0)
    encoder = build_encoder("nature-norm", observation_shape=(4, 84, 84), input_scale=255.0, width=0.25)
    x = torch.randint(256, (2, 4, 84, 84), dtype=torch.uint8)
    before = encoder(x)
    for module in encoder.modules():
        if isinstance(module, HadamardConv2d):
            module.activations[0] = torch.nn.Tanh()
    after, copied = encoder(x), copy.deepcopy(encoder)(x)
    monkeypatch.setenv("HADAMAX_KERNELS", "reference")
    torch.testing.assert_close(after, encoder(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(copied, after)
    assert (after - before).abs().max() > 0.01
