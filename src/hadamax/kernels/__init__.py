"""The fused Hadamax block: everything after a block's convolution, in one pass over what that gave.

    from hadamax.kernels import hadamax_block, implementation, keep_memory

On the CPU a C++ kernel serves float32 and bfloat16, shipped in the wheel or compiled on first use, on CUDA one in
Triton; whatever they do not serve goes through plain PyTorch, the definition. In the environment,
`HADAMAX_KERNELS=reference` forces the latter, and `native` compiles for this very processor what a wheel shipped.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu, cuda
from hadamax.kernels.constant import constant
from hadamax.kernels.convolution import ConvolutionGeometry, byte_convolution, byte_convolution_obstacle
from hadamax.kernels.map_convolution import map_convolution, map_convolution_obstacle
from hadamax.kernels.memory import keep_memory
from hadamax.kernels.observations import scaled_observations
from hadamax.kernels.operator import fused_block
from hadamax.kernels.place import Place
from hadamax.kernels.radam import RAdam
from hadamax.kernels.reference import ACTIVATIONS, reference_block
from hadamax.kernels.stage import Stage, fused_stage
from hadamax.kernels.variant import Pool, Variant, check
from hadamax.kernels.watchers import is_transformed

__all__ = [
    "KERNEL_ACTIVATIONS",
    "ConvolutionGeometry",
    "Implementation",
    "Place",
    "RAdam",
    "Stage",
    "Variant",
    "byte_convolution",
    "byte_convolution_obstacle",
    "fused_stage",
    "hadamax_block",
    "implementation",
    "keep_memory",
    "map_convolution",
    "map_convolution_obstacle",
    "scaled_observations",
]

KERNEL_ACTIVATIONS = frozenset(ACTIVATIONS)


class Implementation(NamedTuple):
    """What computes a block: `cpu`, `cuda` or `reference`, and for the latter why."""

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
    """Norm and activation of each branch, their product (or sum), and max-pooling.

    Args:
        x: [N, branches * C, H, W], a convolution's output, branch after branch; fastest where channels-last.
        weight: [branches * C], the scale of each branch's norm, as float32 beside a bfloat16 x; or None.
        bias: [branches * C] or None, likewise.
        activations: a name for each branch: see `hadamax.kernels.reference.ACTIVATIONS`.
        combine: "product" or "sum".
        norm: each branch over its "channels" at each pixel, over its whole "map", or None.
        eps: added to the variance.
        pool: (window, stride, padding before, padding after), the padding being -inf and an incomplete last
            window dropped; None for no pool.

    Returns:
        [N, C, H', W'] of x's dtype, channels-last. Computed in float32 at least and rounded once. The first
        maximum of a window gets its gradient and NaN counts as the largest, as in PyTorch.

    Raises:
        ValueError: shapes or settings that do not fit together.
    """
    variant = Variant(branches, tuple(activations), combine, norm, eps, pool)
    check(x, weight, bias, variant, KERNEL_ACTIVATIONS)
    channels = x.shape[1] // branches
    if is_transformed() or _obstacle(x.device.type, x.dtype, variant, channels) is not None:
        return reference_block(x, weight, bias, variant)
    if torch.compiler.is_compiling():
        known = None if pool is None else (pool[0], pool[1], 0, 0)  # a map of any size has symbols for paddings
        usable = _can_be_built(x.device.type, x.dtype, channels, variant.activations, combine, norm, known)
    else:
        usable = _failure(x.device.type, x.dtype, variant, channels) is None
    block = fused_block if usable else reference_block
    return block(x, weight, bias, variant)


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
    """Whether there is a kernel: what a compiled graph asks once, when it is traced."""
    variant = Variant(len(activations), activations, combine, norm, 0.0, pool)
    return _failure(device, dtype, variant, channels) is None


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
    """Which implementation serves a variant on this machine; compiles the kernel to find out.

    Args:
        channels: of one branch, where known, so that what is compiled is what will be used.
    """
    variant = Variant(branches, tuple(activations), combine, norm, 0.0, pool)
    kind = torch.device(device).type
    reason = _obstacle(kind, dtype, variant, channels) or _failure(kind, dtype, variant, channels)
    return Implementation(kind) if reason is None else Implementation("reference", reason)


def _obstacle(device: str, dtype: torch.dtype, variant: Variant, channels: int) -> str | None:
    """Why no fused form serves this, the compiler aside; None where one does."""
    if not cpu.wanted():
        return "HADAMAX_KERNELS=reference"
    if device == "cuda":
        return cuda.obstacle(dtype, variant, channels)
    return cpu.obstacle(dtype, variant) if device == "cpu" else f"no fused form on {device}"


def _failure(device: str, dtype: torch.dtype, variant: Variant, channels: int) -> str | None:
    """Why the kernel of a variant without an obstacle cannot be had here; None where it can. Compiles to find out."""
    if device == "cuda":
        return cuda.failure(dtype, variant, channels)
    return None if cpu.library(dtype, variant, channels) is not None else cpu.failure() or "there is no kernel"
