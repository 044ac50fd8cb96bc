"""The two networks in idiomatic PyTorch, without this library, for comparison.

Same architecture; initial weights are PyTorch's defaults, which do not affect speed. Sources: see
`hadamax.networks.named_encoders`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of [N, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Compute SAME padding before and after."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


class PlainBlock(nn.Module):
    """Two convolutions, each normalised and activated, their product, a max-pool; all SAME."""

    def __init__(self, inputs: int, channels: int, kernel: int, window: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(inputs, channels, kernel) for _ in range(2))
        self.norms = nn.ModuleList(ChannelNorm(channels, eps=1e-6) for _ in range(2))
        self.margins = ((kernel - 1) // 2, kernel // 2) * 2
        self.window, self.stride = window, stride

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.margins)
        first, second = (
            F.gelu(norm(convolution(x)), approximate="tanh")
            for convolution, norm in zip(self.convolutions, self.norms, strict=True)
        )
        product = first * second
        before, after = same(product.shape[2], self.window, self.stride)
        padded = F.pad(product, (before, after, before, after), value=-torch.inf) if after else product
        return F.max_pool2d(padded, self.window, self.stride)


class Plain(nn.Module):
    """uint8 [N, 4, 84, 84] -> [N, 512]."""

    def __init__(self, blocks: nn.Module, flat: int, activation: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks
        self.dense = nn.Sequential(nn.Linear(flat, 512), nn.LayerNorm(512, eps=1e-6), activation)

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.dense(self.blocks(observations / 255.0).permute(0, 2, 3, 1).flatten(1))
        return features


def plain_hadamax() -> Plain:
    """Build the encoder `hadamax`."""
    blocks = nn.Sequential(
        PlainBlock(4, 32, 8, 4, 4), PlainBlock(32, 64, 4, 2, 2), PlainBlock(64, 64, 3, 3, 1)
    )  # fmt: skip
    return Plain(blocks, 7744, nn.GELU(approximate="tanh"))


def plain_nature() -> Plain:
    """Build the encoder `nature-norm`."""
    blocks = nn.Sequential(
        nn.Conv2d(4, 32, 8, 4), ChannelNorm(32, eps=1e-6), nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2), ChannelNorm(64, eps=1e-6), nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1), ChannelNorm(64, eps=1e-6), nn.ReLU(),
    )  # fmt: skip
    return Plain(blocks, 3136, nn.ReLU())


PLAIN = {"hadamax": plain_hadamax, "nature-norm": plain_nature}
