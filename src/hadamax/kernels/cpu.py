"""The fused Hadamax block on the CPU: supported settings, and calls of the compiled kernel."""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import os
import threading

import torch
from torch import Tensor

from hadamax.errors import environment_variable
from hadamax.kernels import shipped
from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.build import BuildError, RefusedError, build, compiler_name

ELEMENTS = {torch.float32: "float", torch.bfloat16: "bfloat16"}
ACTIVATIONS = {
    "identity": "Identity",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "gelu": "Gelu",
    "gelu_tanh": "GeluTanh",
    "silu": "Silu",
}
MOST_BRANCHES = 3
WIDEST_WINDOW = 16  # a position within a window is stored in one byte
UNROLLED_CHANNELS = (16, 32, 48, 64, 128)  # specialised libraries, 20% faster; other numbers share one

log = logging.getLogger("hadamax.kernels")
_libraries: dict[tuple[str, ...], ctypes.CDLL | None] = {}
_building = threading.Lock()
_failures: dict[str, str] = {}  # reasons by source file; under ALL, the reason why nothing can be compiled
ALL = ""


class BlockSizes(ctypes.Structure):
    """The struct `Sizes` of csrc/call.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("images", "rows", "columns", "channels", "pooled_rows")),
        *((name, ctypes.c_int32) for name in ("pooled_columns", "window", "stride", "pad", "threads")),
        ("epsilon", ctypes.c_float),
    ]


def obstacle(dtype: torch.dtype, config: BlockConfig) -> str | None:
    """Return why the kernel does not support this block, or None."""
    if dtype not in ELEMENTS:
        return f"{dtype} is neither float32 nor bfloat16"
    if config.branches > MOST_BRANCHES:
        return f"more than {MOST_BRANCHES} branches"
    if config.norm == "map":
        return "a norm over the whole map"
    other = [name for name in config.activations if name not in ACTIVATIONS]
    if other:
        return f"activation {other[0]}"
    window, _, *pads = config.pool or (1, 1, 0, 0)
    if window > WIDEST_WINDOW or max(pads) >= window:
        return f"pool {config.pool} (window wider than {WIDEST_WINDOW}, or windows of padding only)"
    return None


def library(dtype: torch.dtype, config: BlockConfig, channels: int = 0) -> ctypes.CDLL | None:
    """Return the compiled kernel of a supported block; None if it cannot be built, which is logged once.

    `channels` is the number of channels of one branch, if known: common numbers have specialised libraries.
    """
    return load("block.cpp", macros(dtype, config, channels))


def load(source: str, chosen: tuple[str, ...]) -> ctypes.CDLL | None:
    """Return the library of a source file and its macros; None if it cannot be built, which is logged once."""
    key = (source, *chosen)
    if key not in _libraries:
        with _building:
            if key not in _libraries:
                _libraries[key] = _build(source, chosen)
    return _libraries[key]


CHOICES = ("auto", "native", "reference")


def wanted() -> bool:
    """Return False if `HADAMAX_KERNELS=reference` disables the kernels.

    Raises:
        EnvironmentVariableError: `HADAMAX_KERNELS` is not one of `CHOICES`.
    """
    return environment_variable("HADAMAX_KERNELS", CHOICES) != "reference"


def compiler() -> str:
    """Describe the compiler of the kernels (shipped and local), which determines how they round."""
    if os.environ.get("HADAMAX_KERNELS") == "reference":
        return "not used"
    shipped_by = shipped.compiler() if os.environ.get("HADAMAX_KERNELS") != "native" else None
    return f"{shipped_by}; the rest: {compiler_name()}" if shipped_by else compiler_name()


@functools.lru_cache(maxsize=1024)
def macros(dtype: torch.dtype, config: BlockConfig, channels: int) -> tuple[str, ...]:
    """Return the macros that block.cpp is compiled with."""
    window, stride, *_ = config.pool or (1, 1)
    if channels not in UNROLLED_CHANNELS:
        channels = window = stride = 0
    names = tuple(ACTIVATIONS[name] for name in config.activations)
    summed, normed = config.combine == "sum", config.norm is not None
    return shipped.block(ELEMENTS[dtype], names, summed, normed, channels, window, stride)[1:]


def failure(source: str = "block.cpp") -> str | None:
    """Return why a kernel of this source file could not be built, or None."""
    return _failures.get(ALL) or _failures.get(source)


def reset() -> None:
    """Forget loaded libraries and failures, so that the next call searches for them again."""
    with _building:
        _libraries.clear()
        _failures.clear()


def _build(source: str, chosen: tuple[str, ...]) -> ctypes.CDLL | None:
    found = shipped.load((source, *chosen)) if os.environ.get("HADAMAX_KERNELS") != "native" else None
    if found is not None:
        return found
    if failure(source) is not None:  # another block would fail in the same way
        return None
    try:
        return build(chosen, source)
    except BuildError as error:
        if not _failures:  # log the first failure only
            which = f" from {source}" if isinstance(error, RefusedError) else ""
            log.warning("No fused Hadamax kernel%s: %s. Plain PyTorch is used instead, which is slower.", which, error)
        _failures[source if isinstance(error, RefusedError) else ALL] = str(error)
        return None


def forward(
    kernel: ctypes.CDLL, x: Tensor, weight: Tensor | None, bias: Tensor | None, config: BlockConfig
) -> tuple[Tensor, Tensor]:
    """Return the block's output y and the position of each maximum in its window: [N, C, H', W'], channels-last."""
    x = x.contiguous(memory_format=torch.channels_last)
    weight, bias = float32(weight), float32(bias)
    y, positions = empty_outputs(x.shape, x.dtype, x.device, config)
    sizes = block_sizes(x.shape, y, config)
    check_memory(kernel.hadamax_forward(ctypes.byref(sizes), *map(pointer, (x, weight, bias, y, positions))))
    return y, positions


def backward(
    kernel: ctypes.CDLL,
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    positions: Tensor,
    config: BlockConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x (channels-last), weight and bias (float32 [branches * C]) from that of y."""
    x = x.contiguous(memory_format=torch.channels_last)
    gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
    positions = positions.contiguous(memory_format=torch.channels_last)
    weight, bias = float32(weight), float32(bias)
    to_x = torch.empty_like(x)
    sizes = block_sizes(x.shape, gradient, config)
    # One row per thread, summed in a fixed order, so that the result is deterministic.
    to_affine = torch.zeros(sizes.threads, 2, x.shape[1], dtype=torch.float64, device="cpu")
    tensors = (x, weight, bias, gradient, positions, to_x, to_affine)
    check_memory(kernel.hadamax_backward(ctypes.byref(sizes), *map(pointer, tensors)))
    to_weight, to_bias = to_affine.sum(0).float()
    return to_x, to_weight.clone(), to_bias.clone()


def check_memory(success: int) -> None:
    """Raise MemoryError if a kernel returned 0, which means that it could not allocate its workspace."""
    if not success:
        raise MemoryError("a fused kernel could not allocate its workspace")


def empty_outputs(
    size: torch.Size, dtype: torch.dtype, device: torch.device, config: BlockConfig
) -> tuple[Tensor, Tensor]:
    """Allocate y and the positions for a map of `size`."""
    images, channels, rows, columns = size
    shape = (images, channels // config.branches, config.pooled(rows), config.pooled(columns))
    y = torch.empty(shape, dtype=dtype, device=device, memory_format=torch.channels_last)
    return y, torch.empty(shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)


def block_sizes(of_map: torch.Size, y: Tensor, config: BlockConfig) -> BlockSizes:
    """Return the sizes argument of a kernel, for a map of that size and the output y."""
    window, stride, pad, _ = config.pool or (1, 1, 0, 0)
    images, channels, *pooled = y.shape
    size = list(of_map[2:])
    if window == stride == 1:  # no pool: one long row, which fills whole vectors of pixels
        size = pooled = [1, math.prod(size)]
    return BlockSizes(images, *size, channels, *pooled, window, stride, pad, torch.get_num_threads(), config.eps)


def float32(affine: Tensor | None) -> Tensor | None:
    """Convert a norm's scale or bias to the kernels' type."""
    return None if affine is None else affine.float().contiguous()


def pointer(tensor: Tensor | None) -> ctypes.c_void_p | None:
    """Return a tensor's address, null for None."""
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())
