"""The fast path of a convolutional block: whether and how the kernels compute it, decided here and nowhere else.

`ConvBlock.forward` calls `fast_path` once. It returns the block's output, or None if the definition must run: a module
of the block is hooked or replaced, or no kernel supports the settings, dtype or device.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import (
    BlockConfig,
    ByteConvConfig,
    ConvBlockConfig,
    Implementation,
    fused_conv_block,
    hadamax_block,
    implementation,
)
from hadamax.kernels.dispatch import can_call_directly
from hadamax.networks.observed import is_hooked
from hadamax.networks.windows import Window

BACKWARD_CHUNK_BYTES = 64 * 2**20  # of a convolution's output that is differentiated at a time
MAX_BACKWARD_CHUNKS = 8  # under autocast their weight gradients are added in the precision of the weights
UNFUSED_ACTIVATIONS = ("identity", "relu", "sigmoid")  # without norm and pool, PyTorch's single pass is faster


class Plan(NamedTuple):
    """How the kernels compute a block for inputs of one size and dtype."""

    fused_conv: ConvBlockConfig | None  # convolution of bytes and the block after it, image by image
    block: BlockConfig | None  # what follows a convolution; None: PyTorch
    bytes_per_image: int  # of the convolution's output


def fast_path(block: Any, x: Tensor, scale: float | None) -> Tensor | None:
    """Compute a `ConvBlock` with the kernels; None if its definition must run.

    Args:
        block: the `ConvBlock`.
        x: [N, C, H, W], uint8 if `scale` is given.
    """
    layer = block.layer
    if x.ndim != 4 or any(map(is_hooked, (layer, layer.norm, *layer.activations, block.pool))):
        return None
    plan = plan_of(block, x.shape[2], x.shape[3], layer.dtype(x.device.type), x.device.type, scale)
    if plan.fused_conv is not None and can_call_directly(x):
        norm_weight, norm_bias = layer.norm.affine()
        weights = layer.weight, layer.bias, norm_weight, norm_bias
        if plan.fused_conv.supports(x, *weights):
            return fused_conv_block(x, *weights, plan.fused_conv)
    chunks = backward_chunks(x, plan)
    if chunks == 1:
        return None if plan.block is None else convolve_and_finish(block, x, scale, plan)
    return torch.cat([convolve_and_finish(block, chunk, scale, plan) for chunk in x.chunk(chunks)])


def convolve_and_finish(block: Any, x: Tensor, scale: float | None, plan: Plan) -> Tensor:
    """Compute the convolution, then norm, activation, product and pool, in one kernel if the plan has one."""
    if plan.block is None:
        output: Tensor = block.definition(x, scale)
        return output
    norm_weight, norm_bias = block.layer.norm.affine()
    return hadamax_block(block.layer.convolve(x, scale=scale), norm_weight, norm_bias, **plan.block._asdict())


def backward_chunks(x: Tensor, plan: Plan) -> int:
    """Number of chunks of a batch: 1, or more when training on the CPU on large maps.

    The backward pass then holds the gradient of one chunk's convolution instead of the whole, which may be the largest
    tensor of the network. It costs about 1% more time.
    """
    if x.device.type != "cpu" or not torch.is_grad_enabled() or not can_call_directly(x):
        return 1
    images = max(BACKWARD_CHUNK_BYTES // max(plan.bytes_per_image, 1), 1)
    return min(max(-(-len(x) // images), 1), MAX_BACKWARD_CHUNKS)


def plan_of(block: Any, height: int, width: int, dtype: torch.dtype, device: str, scale: float | None) -> Plan:
    """Return the plan of a `ConvBlock` for maps of this size. May compile kernels."""
    layer, pool = block.layer, block.pool
    settings = layer.kernel_settings
    key = (
        None if settings is None else tuple(settings.items()),
        layer.norm.eps if settings is not None else 0.0,
        None if pool is None else (pool.window, pool.pool.kind),
        layer.window,
        len(layer.weight),
        (height, width),
        (dtype, device, scale),
    )
    if torch.compiler.is_compiling():  # sizes may be symbolic
        return _plan(*key)
    return _cached_plan(*key, os.environ.get("HADAMAX_KERNELS"))


@lru_cache(maxsize=1024)
def _cached_plan(*key: Any) -> Plan:
    return _plan(*key[:-1])


def forget_plans() -> None:
    """Clear the cache of plans, for a process in which the availability of kernels has changed."""
    _cached_plan.cache_clear()


def _plan(
    settings: tuple[tuple[str, Any], ...] | None,
    eps: float,
    pool: tuple[Window, str] | None,
    window: Window,
    channels: int,
    size: tuple[int, int],
    numbers: tuple[torch.dtype, str, float | None],
) -> Plan:
    dtype, device, scale = numbers
    map_size = window.output_size(*size)
    bytes_per_image = channels * math.prod(map_size) * dtype.itemsize
    config = block_config(settings, eps, pool, map_size)
    if config is None:
        return Plan(None, None, bytes_per_image)
    fused_conv = None
    if scale is not None and device == "cpu":
        conv = ByteConvConfig(window.stride, window.margins(*size), scale, dtype)
        fused_conv = ConvBlockConfig(conv, config)
    # A compiled graph decides by itself. Elsewhere PyTorch's own layers are faster than the kernels' reference.
    if torch.compiler.is_compiling() or kernel_of(config, channels, dtype, device).name != "reference":
        return Plan(fused_conv, config, bytes_per_image)
    return Plan(fused_conv, None, bytes_per_image)


def block_config(
    settings: tuple[tuple[str, Any], ...] | None, eps: float, pool: tuple[Window, str] | None, size: tuple[int, int]
) -> BlockConfig | None:
    """Return the kernels' settings of what follows a convolution to a map of this size; None if unsupported."""
    if settings is None:
        return None
    margins = None if pool is None else kernel_pool(*pool, *size)
    if (pool is None) != (margins is None):
        return None
    config = BlockConfig(**dict(settings), eps=eps, pool=margins)
    alone = config.branches == 1 and config.norm is None and config.pool is None
    return None if alone and config.activations[0] in UNFUSED_ACTIVATIONS else config


def kernel_pool(window: Window, kind: str, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return (window, stride, padding before, padding after) for a map of this size; None if unsupported."""
    vertical, horizontal = window.margins(height, width)
    square = window.kernel[0] == window.kernel[1] and window.stride[0] == window.stride[1]
    if kind != "max" or not square or vertical != horizontal:
        return None
    return window.kernel[0], window.stride[0], *vertical


def kernel_of(config: BlockConfig, channels: int, dtype: torch.dtype, device: str) -> Implementation:
    """Return the implementation of a block after a convolution with this number of channels in all branches."""
    settings = config._asdict()
    del settings["eps"]
    return implementation(**settings, dtype=dtype, device=device, channels=channels // config.branches)


def implementation_of(block: Any, height: int, width: int, dtype: torch.dtype, device: str) -> Implementation:
    """Return what computes a `ConvBlock` after its convolution, for an input of this size. May compile kernels."""
    layer, pool = block.layer, block.pool
    settings = layer.kernel_settings
    config = block_config(
        None if settings is None else tuple(settings.items()),
        0.0,
        None if pool is None else (pool.window, pool.pool.kind),
        layer.window.output_size(height, width),
    )
    if config is None:
        return Implementation("reference", "an activation or a pool without a kernel, or a single activation")
    return kernel_of(config, len(layer.weight), dtype, device)
