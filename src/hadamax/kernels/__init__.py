"""Optional acceleration: fused kernels for the Hadamax block, convolutions of frames, and the RAdam optimizer.

    from hadamax.kernels import hadamax_block, implementation, keep_memory

On the CPU, C++ kernels support float32 and bfloat16; they are shipped in the wheel or compiled on first use. On CUDA,
the block is a Triton kernel. Everything else runs the reference in plain PyTorch, which defines the result. The
environment variable `HADAMAX_KERNELS=reference` disables the kernels; `native` ignores the shipped libraries and
compiles for the processor at hand.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu, cuda
from hadamax.kernels.block_config import BlockConfig, Pool, check
from hadamax.kernels.byte_convolution import ByteConvConfig, byte_convolution, byte_convolution_obstacle
from hadamax.kernels.conv_block import ConvBlockConfig, fused_conv_block
from hadamax.kernels.conv_geometry import ConvGeometry
from hadamax.kernels.dispatch import constant, is_transformed
from hadamax.kernels.map_convolution import map_convolution, map_convolution_obstacle
from hadamax.kernels.memory import keep_memory
from hadamax.kernels.observations import scaled_observations
from hadamax.kernels.operator import fused_block
from hadamax.kernels.radam import RAdam
from hadamax.kernels.reference import ACTIVATIONS, reference_block

__all__ = [
    "KERNEL_ACTIVATIONS",
    "BlockConfig",
    "ByteConvConfig",
    "ConvBlockConfig",
    "ConvGeometry",
    "Implementation",
    "RAdam",
    "byte_convolution",
    "byte_convolution_obstacle",
    "fused_conv_block",
    "hadamax_block",
    "implementation",
    "keep_memory",
    "map_convolution",
    "map_convolution_obstacle",
    "scaled_observations",
]

KERNEL_ACTIVATIONS = frozenset(ACTIVATIONS)


class Implementation(NamedTuple):
    """Implementation of a block (`cpu`, `cuda` or `reference`), and the reason if it is the reference."""

    name: str
    reason: str = ""


def hadamax_block(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    branches: int,
    activations: tuple[str, ...],
    combine: str,
    norm: str | None,
    eps: float,
    pool: Pool | None,
) -> Tensor:
    """Apply norm and activation to each branch, multiply (or add) the branches, and max-pool.

    Args:
        x: [N, branches * C, H, W], a convolution's output, branch after branch; fastest if channels-last.
        weight: [branches * C], the scale of each branch's norm (float32 if x is bfloat16), or None.
        bias: [branches * C] or None, likewise.
        activations: one name per branch; see `hadamax.kernels.reference.ACTIVATIONS`.
        combine: "product" or "sum".
        norm: "channels" (normalise each branch over its channels at each pixel), "map" (over the whole map), or None.
        eps: added to the variance.
        pool: (window, stride, padding before, padding after), or None. The padding is -inf; an incomplete last window
            is dropped.

    Returns:
        [N, C, H', W'] in x's dtype, channels-last. Computed in float32 or wider and rounded once. As in PyTorch, the
        first maximum of a window gets the gradient, and NaN counts as the largest value.

    Raises:
        ValueError: the shapes or settings are inconsistent.
    """
    config = BlockConfig(branches, tuple(activations), combine, norm, eps, pool)
    check(x, weight, bias, config, KERNEL_ACTIVATIONS)
    channels = x.shape[1] // branches
    if is_transformed() or _obstacle(x.device.type, x.dtype, config, channels) is not None:
        return reference_block(x, weight, bias, config)
    if torch.compiler.is_compiling():
        known = None if pool is None else (pool[0], pool[1], 0, 0)  # paddings may be symbolic
        usable = _can_be_built(x.device.type, x.dtype, channels, config.activations, combine, norm, known)
    else:
        usable = _failure(x.device.type, x.dtype, config, channels) is None
    block = fused_block if usable else reference_block
    return block(x, weight, bias, config)


@constant
def _can_be_built(
    device: str,
    dtype: torch.dtype,
    channels: int,
    activations: tuple[str, ...],
    combine: str,
    norm: str | None,
    pool: Pool | None,
) -> bool:
    """Return True if there is a kernel; evaluated once, when a graph is traced."""
    config = BlockConfig(len(activations), activations, combine, norm, 0.0, pool)
    return _failure(device, dtype, config, channels) is None


def implementation(
    *,
    branches: int,
    activations: tuple[str, ...],
    combine: str,
    norm: str | None,
    pool: Pool | None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    channels: int = 0,
) -> Implementation:
    """Return the implementation used for a block on this machine. May compile the kernel.

    Args:
        channels: channels of one branch if known, so that the library that will be used is compiled.
    """
    config = BlockConfig(branches, tuple(activations), combine, norm, 0.0, pool)
    kind = torch.device(device).type
    reason = _obstacle(kind, dtype, config, channels) or _failure(kind, dtype, config, channels)
    return Implementation(kind) if reason is None else Implementation("reference", reason)


def _obstacle(device: str, dtype: torch.dtype, config: BlockConfig, channels: int) -> str | None:
    """Return why no kernel supports this block, or None; does not compile anything."""
    if not cpu.wanted():
        return "HADAMAX_KERNELS=reference"
    if device == "cuda":
        return cuda.obstacle(dtype, config, channels)
    return cpu.obstacle(dtype, config) if device == "cpu" else f"no kernel for device {device}"


def _failure(device: str, dtype: torch.dtype, config: BlockConfig, channels: int) -> str | None:
    """Return why a supported kernel is unavailable on this machine, or None. May compile it."""
    if device == "cuda":
        return cuda.failure(dtype, config, channels)
    return None if cpu.library(dtype, config, channels) is not None else cpu.failure() or "the kernel is unavailable"
