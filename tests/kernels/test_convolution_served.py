"""Which byte convolutions run as FFT; all others are PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.kernels.convolutions import GAIN, ROUNDING, SAME, SIZE, exact, layer, observations, obstacle, off, plain

from hadamax.kernels import ByteConvConfig, byte_convolution, byte_convolution_obstacle, cpu, fft_convolution
from hadamax.kernels.byte_convolution import plain_convolution
from hadamax.kernels.fft_convolution import FftConvolution
from hadamax.networks import build_encoder


@pytest.fixture(autouse=True)
def _served(kernel: None, small_maps: None) -> None:
    """Skip without a compiler; check that float32 uses the kernel."""
    assert obstacle(torch.float32) is None


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "dtype", "word"),
    [
        (64, (8, 8), (4, 4), torch.float32, "too small for an FFT"),
        (64, (2, 8), (1, 1), torch.float32, "too small for an FFT"),
        (64, (8, 8), (1, 2), torch.float32, "stride"),
        (63, (8, 8), (1, 1), torch.float32, "multiple"),
        (64, (8, 8), (1, 1), torch.float64, "float32 or bfloat16"),
    ],
)
def test_unsupported_inputs_use_the_plain_form(
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dtype: torch.dtype,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fft_convolution, "GAIN", GAIN)
    weight, bias = (tensor.detach().to(dtype) for tensor in layer(channels, 4, kernel))
    config = ByteConvConfig(stride, ((1, 2), (0, 3)), 255.0, dtype)
    x = observations(2, 4, 21, 21)
    reason = byte_convolution_obstacle(x.shape[2:], weight, config)
    assert reason is not None
    assert word in reason
    found, expected = byte_convolution(x, weight, bias, config), plain(x, weight, bias, config)
    assert off(found, expected.double()) < 8 * torch.finfo(dtype).eps  # PyTorch's algorithms for both layouts
    wide = (tensor.float() for tensor in (weight, bias))  # whatever the weights' own precision
    assert torch.equal(byte_convolution(x, *wide, config), found)


def test_small_maps_and_large_kernels_use_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fft_convolution, "GAIN", GAIN)
    config = ByteConvConfig((1, 1), ((0, 0), (0, 0)), 255.0, torch.float32)
    weight = torch.randn(64, 4, 8, 8)
    reason = byte_convolution_obstacle(torch.Size((12, 12)), weight, config)
    assert reason is not None
    assert "too small for an FFT" in reason
    assert byte_convolution_obstacle(SIZE, weight, config) is None
    x, wide = observations(2, 4, 30, 60), torch.randn(64, 4, 24, 20)
    found = FftConvolution(torch.uint8, torch.float32).forward(x, wide, None, config.geometry, 1 / config.scale)
    assert off(found, plain(x, wide.double(), None, config)) < ROUNDING[torch.float32]
    wider = torch.randn(64, 4, 25, 20)
    assert "larger than 24" in str(byte_convolution_obstacle(x.shape[2:], wider, config))
    assert off(byte_convolution(x, wider, None, config), plain(x, wider.double(), None, config)) < 1e-6


@pytest.mark.parametrize("name", ["hadamax", "hadamax-fast", "hadamax-light"])
def test_encoder_gradients_equal_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, (4, 44, 40))
    x = observations(3, 4, 44, 40)
    exact_encoder = build_encoder(name, (4, 44, 40)).double()
    exact_encoder.load_state_dict(encoder.state_dict())
    found = []
    for network in (encoder, exact_encoder):
        y = network(x)
        found.append([y.detach(), *torch.autograd.grad(y.square().sum(), list(network.parameters()))])
    for ours, expected in zip(*found, strict=True):
        assert off(ours, expected) < 1e-4
    monkeypatch.setenv("HADAMAX_KERNELS", "reference")
    torch.testing.assert_close(encoder(x), found[0][0], rtol=1e-4, atol=1e-5)


def test_missing_compiler_uses_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = layer(64, 4, (8, 8))
    x, config = observations(1, 4, 17, 17), ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    monkeypatch.setattr(cpu, "load", lambda source, macros: None)
    monkeypatch.setitem(cpu._failures, cpu.ALL, "no compiler")
    assert byte_convolution_obstacle(SIZE, weight, config) == "no compiler"
    y = byte_convolution(x, weight, bias, config)
    assert torch.equal(y, plain_convolution(x, weight, bias, config))
    torch.testing.assert_close(y, plain(x, weight, bias, config))


@pytest.mark.parametrize("margins", [((-1, -1), (-1, -1)), ((-2, 3), (3, 4)), ((3, 4), (3, -1))])
def test_negative_margins_crop(margins: Any) -> None:
    config = ByteConvConfig((1, 1), margins, 255.0, torch.float32)
    (weight, bias), x = layer(64, 4, (8, 8)), observations(2, 4, 16, 15)
    y = byte_convolution(x, weight, bias, config)
    gradient = torch.randn(y.shape)
    for ours, theirs in zip(
        (y.detach(), *torch.autograd.grad(y, (weight, bias), gradient)),
        exact(x, weight, bias, config, gradient),
        strict=True,
    ):
        assert off(ours, theirs) < ROUNDING[torch.float32]
