"""The fused block on CUDA: which variants it serves, and launches of the Triton kernels."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.variant import Variant

MOST_CHANNELS = 1024  # a tile holds all channels of a branch
TILE = 1024  # elements of a branch, about
MOST_PROGRAMS = 4096  # each keeps a part of the affine gradients

log = logging.getLogger("hadamax.kernels")
_tried: dict[tuple[Any, ...], str | None] = {}
_trying = threading.Lock()


def obstacle(dtype: torch.dtype, variant: Variant, channels: int = 0) -> str | None:
    """Why the kernels do not serve this variant; None where they do, which is where those of the CPU do."""
    if channels > MOST_CHANNELS:
        return f"more than {MOST_CHANNELS} channels in a branch"
    return cpu.obstacle(dtype, variant)


def failure(dtype: torch.dtype, variant: Variant, channels: int) -> str | None:
    """Why a variant without an obstacle cannot be computed here; None where it can. Tried once, logged once.

    Triton compiles at the first launch, with the C compiler of the system for the part that launches.
    """
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    variant = variant._replace(eps=1.0)
    key = (dtype, variant, channels)
    if key not in _tried:
        with _trying:
            if key not in _tried:
                _tried[key] = _try(dtype, variant, channels)
    return _tried[key]


def _try(dtype: torch.dtype, variant: Variant, channels: int) -> str | None:
    earlier = next((reason for reason in _tried.values() if reason is not None), None)
    if earlier is not None:  # the next variant would fail alike, after as long
        return earlier
    window = variant.pool[0] if variant.pool else 1
    try:
        x = torch.zeros(1, variant.branches * (channels or 1), window, window, dtype=dtype, device="cuda")
        affine = None if variant.norm is None else torch.ones(x.shape[1], device="cuda")
        y, positions = forward(x, affine, affine, variant)
        backward(y, x, affine, affine, positions, variant)
        torch.cuda.synchronize()
    except ImportError:
        reason = "Triton is not installed"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever Triton, its compilers and the driver raise
        reason = f"Triton fails ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]})"
    else:
        return None
    log.warning("No fused Hadamax kernel: %s. Plain PyTorch does its work, slower.", reason)
    return reason


def forget() -> None:
    """Try again at the next call."""
    with _trying:
        _tried.clear()


def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: Variant) -> tuple[Tensor, Tensor]:
    """The block's value y, and where in its window each was found: both [N, C, H', W'], channels-last."""
    from hadamax.kernels import triton_block

    x = x.contiguous(memory_format=torch.channels_last)
    y, positions = cpu.empty_outputs(x.shape, x.dtype, x.device, variant)
    outputs = y.numel() // y.shape[1]
    if not outputs:
        return y, positions
    scale, shift = _affine(x, weight, bias)
    constants = kernel_constants(variant, y.shape[1], affine=scale is not None)
    with _on(x):
        triton_block.forward[(_tiles(outputs, constants),)](
            x, _given(scale, x), _given(shift, x), y, positions, outputs, *x.shape[2:], *y.shape[2:], variant.eps,
            **constants,
        )  # fmt: skip
    return y, positions


def backward(
    gradient: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, positions: Tensor, variant: Variant
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (like x, channels-last), weight and bias (float32 [branches * C]) from that of y.

    The affine gradients are added in two stages, each in a fixed order: within a program, then over programs.
    """
    from hadamax.kernels import triton_block

    x = x.contiguous(memory_format=torch.channels_last)
    gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
    positions = positions.contiguous(memory_format=torch.channels_last)
    by_window = windows_stand_alone(variant)
    to_x = torch.zeros_like(x) if by_window and _leaves_gaps(x, gradient, variant) else torch.empty_like(x)
    scale, shift = _affine(x, weight, bias)
    constants = kernel_constants(variant, gradient.shape[1], affine=scale is not None)
    items = gradient.numel() // gradient.shape[1] if by_window else x.numel() // x.shape[1]
    tiles = _tiles(items, constants)
    sums = torch.zeros(min(tiles, MOST_PROGRAMS), 2, x.shape[1], dtype=torch.float32, device=x.device)
    if items:
        kernel = triton_block.backward_windows if by_window else triton_block.backward_pixels
        with _on(x):
            kernel[(len(sums),)](
                x, _given(scale, x), _given(shift, x), gradient, positions, to_x, sums, items, tiles, *x.shape[2:],
                *gradient.shape[2:], variant.eps, **constants,
            )  # fmt: skip
    to_weight, to_bias = sums.sum(0, dtype=torch.float64).float()
    return to_x, to_weight.clone(), to_bias.clone()


def windows_stand_alone(variant: Variant) -> bool:
    """Whether each pixel belongs to at most one window, of several pixels."""
    return variant.pool is not None and 1 < variant.pool[0] <= variant.pool[1]


def kernel_constants(variant: Variant, channels: int, *, affine: bool) -> dict[str, Any]:
    """What the kernels are compiled with."""
    from hadamax.kernels.triton_parts import KINDS

    window, stride, pad, _ = variant.pool or (1, 1, 0, 0)
    first, second, third = [*(KINDS[name] for name in variant.activations), 0, 0][:3]
    width = 1 << (channels - 1).bit_length()
    return {
        "BRANCHES": variant.branches,
        "CHANNELS": channels,
        "FIRST": first,
        "SECOND": second,
        "THIRD": third,
        "SUM": variant.combine == "sum",
        "NORM": variant.norm is not None,
        "AFFINE": affine,
        "WINDOW": window,
        "STRIDE": stride,
        "PAD": pad,
        "BLOCK": max(TILE // width, 1),
        "WIDTH": width,
    }


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift as float32, both or neither."""
    if weight is None and bias is None:
        return None, None
    scale = x.new_ones(x.shape[1], dtype=torch.float32) if weight is None else weight.float().contiguous()
    shift = x.new_zeros(x.shape[1], dtype=torch.float32) if bias is None else bias.float().contiguous()
    return scale, shift


def _given(affine: Tensor | None, x: Tensor) -> Tensor:
    """A kernel takes a tensor; where AFFINE is off it reads none."""
    return x if affine is None else affine


def _tiles(items: int, constants: dict[str, Any]) -> int:
    return -(-items // int(constants["BLOCK"]))


def _leaves_gaps(x: Tensor, gradient: Tensor, variant: Variant) -> bool:
    """Whether some pixels belong to no window: between them, or where a last one would be incomplete."""
    assert variant.pool is not None
    window, stride, pad, _ = variant.pool
    covered = [(size - 1) * stride + window - pad for size in gradient.shape[2:]]
    return stride > window or covered[0] < x.shape[2] or covered[1] < x.shape[3]


def _on(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current card."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
