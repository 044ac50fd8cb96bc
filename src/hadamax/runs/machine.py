"""Device, precision, threads and memory of a run; advice when memory runs out."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from hadamax.errors import UserError

if TYPE_CHECKING:  # loading an agent imports this module, but needs no algorithm
    from hadamax.algorithms import Algorithm

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """Return a device by name; `auto` is a GPU if available.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    gpus = torch.cuda.device_count()
    if name == "cpu" or (kind == "cuda" and (not number or number.isdecimal()) and int(number or 0) < gpus):
        return torch.device(name)
    here = ["auto", "cpu", *(f"cuda:{i}" for i in range(gpus))]
    raise UserError(f"device: {name!r} is not on this machine; expected {', '.join(here)}")


def choose_precision(name: str, device: torch.device) -> str:
    """Return `float32` or `bfloat16`; `auto` is bfloat16 if it is native, since emulation is slower."""
    if name != "auto":
        return name
    return "bfloat16" if bfloat16_is_native(device) else "float32"


def bfloat16_is_native(device: torch.device) -> bool:
    """Return True if the CPU or GPU computes bfloat16 natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def slower_precision(asked: str, device: torch.device) -> str | None:
    """Return a line about lost speed if bfloat16 is not native; None otherwise."""
    if asked == "float32" or bfloat16_is_native(device):
        return None
    if asked == "bfloat16":
        return f"precision: bfloat16 is not native on this {device.type} device and slower than float32"
    return f"precision: float32, since bfloat16 is not native on this {device.type} device; about half as fast"


def choose_threads(threads: int) -> int:
    """Return the requested number of threads, or one per available core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads or cores


def resident_mib() -> float:
    """Return the resident memory of this process in MiB; 0 if unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


SHORTAGES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "could not create a memory object",
    "bad_alloc",
    "alloc_failed",
)


def is_shortage(error: BaseException) -> bool:
    """Return True if an error means that memory ran out, in any of PyTorch's forms."""
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in said for word in SHORTAGES)


class BatchSize(NamedTuple):
    """A setting that determines the rows of an update."""

    name: str
    value: int
    rows: int


def advice(algorithm: Algorithm, error: BaseException) -> UserError:
    """Return the error for a run that ran out of memory.

    If an update did, smaller batches are tried, and the largest that fits is named.
    """
    learning = any(place.name == "update" for place in traceback.extract_tb(error.__traceback__))
    traceback.clear_frames(error.__traceback__)  # they hold tensors of the failed update
    parameter = next(algorithm.network.parameters())
    _give_back(parameter.device)
    where = _describe(parameter.device)
    if not learning:
        games = algorithm.environment.num_envs
        return UserError(
            f"num_envs, num_test_envs: {games} games played and acted for at once are too many for the memory of "
            f"{where}; expected fewer, or a smaller encoder (width, features)"
        )
    current, *smaller = _batches(getattr(algorithm, "settings", None))
    begin = f"{current.name}: {current.value} makes updates of {current.rows} rows, too many for the memory of {where}"
    shape = (1, *algorithm.environment.observation_shape)
    row = torch.from_numpy(algorithm.environment.observations[:1]).reshape(shape).to(parameter.device)
    precision = getattr(algorithm, "precision", torch.float32)
    for batch in smaller:
        if fits(algorithm.network, row, batch.rows, precision):
            return UserError(f"{begin}; expected {batch.value} ({batch.rows} rows fit)")
    return UserError(f"{begin}, and so are fewer; expected a smaller encoder (width, features) or fewer num_envs")


def fits(network: nn.Module, row: torch.Tensor, rows: int, precision: torch.dtype) -> bool:
    """Return True if a forward and backward pass over this many rows fits, with two optimizer moments."""
    device = row.device
    try:
        moments = [torch.ones_like(parameter) for parameter in network.parameters() for _ in range(2)]
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = network(row.repeat(rows, *[1] * (row.dim() - 1))).float().sum()
        parameters = [p for p in network.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)  # acting does not use the value head
        del moments, gradients, loss
    except (MemoryError, RuntimeError) as error:  # of any kind, since fewer rows worked
        traceback.clear_frames(error.__traceback__)
        return False
    finally:
        _give_back(device)
    return True


def _batches(settings: Any) -> list[BatchSize]:
    """Yield the batch of the settings, then smaller ones."""
    if hasattr(settings, "num_minibatches"):
        rows = settings.num_envs * settings.num_steps
        numbers = [n for n in _doublings(settings.num_minibatches, rows) if rows % n == 0]
        return [BatchSize("num_minibatches", n, rows // n) for n in numbers]
    size = getattr(settings, "batch_size", 1)
    return [BatchSize("batch_size", n, n) for n in (size >> i for i in range(size.bit_length()))]


def _doublings(first: int, last: int) -> list[int]:
    return [first << i for i in range(64) if first << i <= last]


def _give_back(device: torch.device) -> None:
    """Release GPU memory that PyTorch caches and does not use."""
    if device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # raised by some versions after a failed capture
            torch.cuda.empty_cache()


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return "this machine"
    free, total = torch.cuda.mem_get_info(device)
    return f"{device} ({torch.cuda.get_device_name(device)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free)"
