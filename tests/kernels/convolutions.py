"""Byte convolutions for comparison, and the plain form they are compared with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import ByteConvConfig, byte_convolution_obstacle, fft_convolution

SAME = ((3, 4), (3, 4))
SIZE = torch.Size((84, 84))
GAIN = fft_convolution.GAIN  # before a test changes it
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 6e-3}  # of the norm; PyTorch's own are as large


def obstacle(dtype: torch.dtype) -> str | None:
    return byte_convolution_obstacle(SIZE, torch.empty(64, 4, 8, 8), ByteConvConfig((1, 1), SAME, 255.0, dtype))


def needs(dtype: torch.dtype) -> None:
    if obstacle(dtype):
        pytest.skip(f"no kernel in {dtype} here")


def layer(channels: int, inputs: int, kernel: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(channels, inputs, *kernel, generator=generator) / (inputs * kernel[0] * kernel[1]) ** 0.5
    return weight.requires_grad_(), torch.randn(channels, generator=generator).requires_grad_()


def observations(*shape: int) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8)


def plain(x: Tensor, weight: Tensor, bias: Tensor | None, config: ByteConvConfig) -> Tensor:
    (top, bottom), (left, right) = config.margins
    numbers = F.pad(x.to(weight.dtype) / config.scale, (left, right, top, bottom))
    return F.conv2d(numbers, weight, bias, config.stride)


def exact(x: Tensor, weight: Tensor, bias: Tensor, config: ByteConvConfig, gradient: Tensor) -> list[Tensor]:
    """Output and gradients of weight and bias in float64."""
    wide = [tensor.detach().double().requires_grad_() for tensor in (weight, bias)]
    y = plain(x, *wide, config)
    return [y.detach(), *torch.autograd.grad(y, wide, gradient.double())]


def off(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-30))
