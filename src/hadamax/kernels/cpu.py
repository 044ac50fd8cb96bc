"""The fused block on the CPU: which variants it serves, and calls into the compiled kernel."""

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
from hadamax.kernels.build import BuildError, RefusedError, build, compiler_name
from hadamax.kernels.variant import Variant

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
WIDEST_WINDOW = 16  # a position within the window is one byte
UNROLLED_CHANNELS = (16, 32, 48, 64, 128)  # a library for each, a fifth faster; others share one

log = logging.getLogger("hadamax.kernels")
_libraries: dict[tuple[str, ...], ctypes.CDLL | None] = {}
_building = threading.Lock()
_failures: dict[str, str] = {}  # why a source file has no library; under ALL why none has
ALL = ""


class BlockSizes(ctypes.Structure):
    """`Sizes` in csrc/call.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("images", "rows", "columns", "channels", "pooled_rows")),
        *((name, ctypes.c_int32) for name in ("pooled_columns", "window", "stride", "pad", "threads")),
        ("epsilon", ctypes.c_float),
    ]


def obstacle(dtype: torch.dtype, variant: Variant) -> str | None:
    """Why the kernel does not serve this variant; None where it does."""
    if dtype not in ELEMENTS:
        return f"{dtype} is neither float32 nor bfloat16"
    if variant.branches > MOST_BRANCHES:
        return f"more than {MOST_BRANCHES} branches"
    if variant.norm == "map":
        return "a norm over the whole map"
    other = [name for name in variant.activations if name not in ACTIVATIONS]
    if other:
        return f"activation {other[0]}"
    window, _, *pads = variant.pool or (1, 1, 0, 0)
    if window > WIDEST_WINDOW or max(pads) >= window:
        return f"pool {variant.pool}: wider than {WIDEST_WINDOW}, or windows that hold nothing but padding"
    return None


def library(dtype: torch.dtype, variant: Variant, channels: int = 0) -> ctypes.CDLL | None:
    """The compiled kernel for a variant without an obstacle; None where it cannot be built, logged once.

    `channels` of one branch, where known: usual numbers get a library of their own.
    """
    return load("block.cpp", macros(dtype, variant, channels))


def load(source: str, chosen: tuple[str, ...]) -> ctypes.CDLL | None:
    """The library of a source file and its macros; None where it cannot be built, logged once."""
    key = (source, *chosen)
    if key not in _libraries:
        with _building:
            if key not in _libraries:
                _libraries[key] = _build(source, chosen)
    return _libraries[key]


CHOICES = ("auto", "native", "reference")


def wanted() -> bool:
    """Whether fused forms may be used at all.

    Raises:
        EnvironmentVariableError: `HADAMAX_KERNELS` is none of `CHOICES`.
    """
    return environment_variable("HADAMAX_KERNELS", CHOICES) != "reference"


def compiler() -> str:
    """What makes the kernels here, which decides how they round: what shipped them, the compiler of this machine."""
    if os.environ.get("HADAMAX_KERNELS") == "reference":
        return "not used"
    ahead = shipped.compiler() if os.environ.get("HADAMAX_KERNELS") != "native" else None
    return f"{ahead}; the rest: {compiler_name()}" if ahead else compiler_name()


@functools.lru_cache(maxsize=1024)
def macros(dtype: torch.dtype, variant: Variant, channels: int) -> tuple[str, ...]:
    """What block.cpp is compiled with."""
    window, stride, *_ = variant.pool or (1, 1)
    if channels not in UNROLLED_CHANNELS:
        channels = window = stride = 0
    names = tuple(ACTIVATIONS[name] for name in variant.activations)
    summed, normed = variant.combine == "sum", variant.norm is not None
    return shipped.block(ELEMENTS[dtype], names, summed, normed, channels, window, stride)[1:]


def failure(source: str = "block.cpp") -> str | None:
    """Why a kernel of that file could not be built, where one could not."""
    return _failures.get(ALL) or _failures.get(source)


def forget() -> None:
    """Look for the compiler and the cache again at the next call."""
    with _building:
        _libraries.clear()
        _failures.clear()


def _build(source: str, chosen: tuple[str, ...]) -> ctypes.CDLL | None:
    ahead = shipped.load((source, *chosen)) if os.environ.get("HADAMAX_KERNELS") != "native" else None
    if ahead is not None:
        return ahead
    if failure(source) is not None:  # the next variant would fail alike, after as long
        return None
    try:
        return build(chosen, source)
    except BuildError as error:
        if not _failures:  # one line, whatever else fails
            which = f" from {source}" if isinstance(error, RefusedError) else ""
            log.warning("No fused Hadamax kernel%s: %s. Plain PyTorch does its work, slower.", which, error)
        _failures[source if isinstance(error, RefusedError) else ALL] = str(error)
        return None


def forward(
    kernel: ctypes.CDLL, x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: Variant
) -> tuple[Tensor, Tensor]:
    """The block's value y, and where in its window each was found: both [N, C, H', W'], channels-last."""
    x = x.contiguous(memory_format=torch.channels_last)
    weight, bias = float32(weight), float32(bias)
    y, positions = empty_outputs(x.shape, x.dtype, x.device, variant)
    sizes = block_sizes(x.shape, y, variant)
    enough(kernel.hadamax_forward(ctypes.byref(sizes), *map(pointer, (x, weight, bias, y, positions))))
    return y, positions


def backward(
    kernel: ctypes.CDLL,
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    positions: Tensor,
    variant: Variant,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (like x, channels-last), weight and bias (float32 [branches * C]) from that of y."""
    x = x.contiguous(memory_format=torch.channels_last)
    gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
    positions = positions.contiguous(memory_format=torch.channels_last)
    weight, bias = float32(weight), float32(bias)
    to_x = torch.empty_like(x)
    sizes = block_sizes(x.shape, gradient, variant)
    # A row for each thread, added in their order: the sum is the same every time.
    to_affine = torch.zeros(sizes.threads, 2, x.shape[1], dtype=torch.float64, device="cpu")
    tensors = (x, weight, bias, gradient, positions, to_x, to_affine)
    enough(kernel.hadamax_backward(ctypes.byref(sizes), *map(pointer, tensors)))
    to_weight, to_bias = to_affine.sum(0).float()
    return to_x, to_weight.clone(), to_bias.clone()


def enough(done: int) -> None:
    """What a kernel says of its own memory.

    Raises:
        MemoryError: it did not get any.
    """
    if not done:
        raise MemoryError("a fused kernel got no memory to work in")


def empty_outputs(
    size: torch.Size, dtype: torch.dtype, device: torch.device, variant: Variant
) -> tuple[Tensor, Tensor]:
    """Room for y and the positions, of a map of `size`."""
    images, channels, rows, columns = size
    shape = (images, channels // variant.branches, variant.pooled(rows), variant.pooled(columns))
    y = torch.empty(shape, dtype=dtype, device=device, memory_format=torch.channels_last)
    return y, torch.empty(shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)


def block_sizes(of_map: torch.Size, y: Tensor, variant: Variant) -> BlockSizes:
    """What a kernel is told of a map of that size, and of y."""
    window, stride, pad, _ = variant.pool or (1, 1, 0, 0)
    images, channels, *pooled = y.shape
    size = list(of_map[2:])
    if window == stride == 1:  # pixel by pixel: one long row, for whole vectors of pixels
        size = pooled = [1, math.prod(size)]
    return BlockSizes(images, *size, channels, *pooled, window, stride, pad, torch.get_num_threads(), variant.eps)


def float32(affine: Tensor | None) -> Tensor | None:
    """As a kernel takes a norm's scale or bias."""
    return None if affine is None else affine.float().contiguous()


def pointer(tensor: Tensor | None) -> ctypes.c_void_p | None:
    """Where a tensor lies, for a kernel; null for None."""
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())
