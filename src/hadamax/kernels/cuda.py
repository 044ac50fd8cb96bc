"""The fused Hadamax block on CUDA: supported settings, and launches of the Triton kernels."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.block_config import BlockConfig

MOST_CHANNELS = 1024  # a tile holds all channels of a branch
TILE = 1024  # approximate elements of a branch per tile
MOST_PROGRAMS = 4096  # each writes its own part of the affine gradients

log = logging.getLogger("hadamax.kernels")
_tried: dict[tuple[Any, ...], str | None] = {}
_trying = threading.Lock()


def obstacle(dtype: torch.dtype, config: BlockConfig, channels: int = 0) -> str | None:
    """Return why the kernels do not support this block, or None: the same blocks as on the CPU."""
    if channels > MOST_CHANNELS:
        return f"more than {MOST_CHANNELS} channels in a branch"
    return cpu.obstacle(dtype, config)


def failure(dtype: torch.dtype, config: BlockConfig, channels: int) -> str | None:
    """Return why a supported block cannot be computed on this machine, or None. Tested once, logged once.

    Triton compiles at the first launch and needs the system's C compiler for its launcher.
    """
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    config = config._replace(eps=1.0)
    key = (dtype, config, channels)
    if key not in _tried:
        with _trying:
            if key not in _tried:
                _tried[key] = _try(dtype, config, channels)
    return _tried[key]


def _try(dtype: torch.dtype, config: BlockConfig, channels: int) -> str | None:
    earlier = next((reason for reason in _tried.values() if reason is not None), None)
    if earlier is not None:  # another block would fail in the same way
        return earlier
    window = config.pool[0] if config.pool else 1
    try:
        x = torch.zeros(1, config.branches * (channels or 1), window, window, dtype=dtype, device="cuda")
        affine = None if config.norm is None else torch.ones(x.shape[1], device="cuda")
        y, positions = forward(x, affine, affine, config)
        backward(y, x, affine, affine, positions, config)
        torch.cuda.synchronize()
    except ImportError:
        reason = "Triton is not installed"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton, its compilers and the driver raise many types
        reason = f"Triton failed ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]})"
    else:
        return None
    log.warning("No fused Hadamax kernel: %s. Plain PyTorch is used instead, which is slower.", reason)
    return reason


def reset() -> None:
    """Forget failures, so that the next call tests again."""
    with _trying:
        _tried.clear()


def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, config: BlockConfig) -> tuple[Tensor, Tensor]:
    """Return the block's output y and the position of each maximum in its window: [N, C, H', W'], channels-last."""
    from hadamax.kernels import triton_block

    x = x.contiguous(memory_format=torch.channels_last)
    y, positions = cpu.empty_outputs(x.shape, x.dtype, x.device, config)
    outputs = y.numel() // y.shape[1]
    if not outputs:
        return y, positions
    scale, shift = _affine(x, weight, bias)
    constants = kernel_constants(config, y.shape[1], affine=scale is not None)
    with _on(x):
        triton_block.forward[(_tiles(outputs, constants),)](
            x, _given(scale, x), _given(shift, x), y, positions, outputs, *x.shape[2:], *y.shape[2:], config.eps,
            **constants,
        )  # fmt: skip
    return y, positions


def backward(
    gradient: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, positions: Tensor, config: BlockConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x (channels-last), weight and bias (float32 [branches * C]) from that of y.

    The affine gradients are summed in a fixed order, first within a program, then over programs: deterministic.
    """
    from hadamax.kernels import triton_block

    x = x.contiguous(memory_format=torch.channels_last)
    gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
    positions = positions.contiguous(memory_format=torch.channels_last)
    by_window = windows_are_disjoint(config)
    to_x = torch.zeros_like(x) if by_window and _leaves_gaps(x, gradient, config) else torch.empty_like(x)
    scale, shift = _affine(x, weight, bias)
    constants = kernel_constants(config, gradient.shape[1], affine=scale is not None)
    items = gradient.numel() // gradient.shape[1] if by_window else x.numel() // x.shape[1]
    tiles = _tiles(items, constants)
    sums = torch.zeros(min(tiles, MOST_PROGRAMS), 2, x.shape[1], dtype=torch.float32, device=x.device)
    if items:
        kernel = triton_block.backward_windows if by_window else triton_block.backward_pixels
        with _on(x):
            kernel[(len(sums),)](
                x, _given(scale, x), _given(shift, x), gradient, positions, to_x, sums, items, tiles, *x.shape[2:],
                *gradient.shape[2:], config.eps, **constants,
            )  # fmt: skip
    to_weight, to_bias = sums.sum(0, dtype=torch.float64).float()
    return to_x, to_weight.clone(), to_bias.clone()


def windows_are_disjoint(config: BlockConfig) -> bool:
    """Return True if each pixel belongs to at most one window, and windows have several pixels."""
    return config.pool is not None and 1 < config.pool[0] <= config.pool[1]


def kernel_constants(config: BlockConfig, channels: int, *, affine: bool) -> dict[str, Any]:
    """Return the constants that the kernels are compiled with."""
    from hadamax.kernels.triton_parts import KINDS

    window, stride, pad, _ = config.pool or (1, 1, 0, 0)
    first, second, third = [*(KINDS[name] for name in config.activations), 0, 0][:3]
    width = 1 << (channels - 1).bit_length()
    return {
        "BRANCHES": config.branches,
        "CHANNELS": channels,
        "FIRST": first,
        "SECOND": second,
        "THIRD": third,
        "SUM": config.combine == "sum",
        "NORM": config.norm is not None,
        "AFFINE": affine,
        "WINDOW": window,
        "STRIDE": stride,
        "PAD": pad,
        "BLOCK": max(TILE // width, 1),
        "WIDTH": width,
    }


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return scale and shift as float32, both or neither."""
    if weight is None and bias is None:
        return None, None
    scale = x.new_ones(x.shape[1], dtype=torch.float32) if weight is None else weight.float().contiguous()
    shift = x.new_zeros(x.shape[1], dtype=torch.float32) if bias is None else bias.float().contiguous()
    return scale, shift


def _given(affine: Tensor | None, x: Tensor) -> Tensor:
    """Return `affine`, or any tensor as a placeholder that the kernel does not read (AFFINE is off)."""
    return x if affine is None else affine


def _tiles(items: int, constants: dict[str, Any]) -> int:
    return -(-items // int(constants["BLOCK"]))


def _leaves_gaps(x: Tensor, gradient: Tensor, config: BlockConfig) -> bool:
    """Return True if some pixels belong to no window: between windows, or in an incomplete last one."""
    assert config.pool is not None
    window, stride, pad, _ = config.pool
    covered = [(size - 1) * stride + window - pad for size in gradient.shape[2:]]
    return stride > window or covered[0] < x.shape[2] or covered[1] < x.shape[3]


def _on(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Make x's device current, because Triton launches on the current GPU."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
