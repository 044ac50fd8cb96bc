"""Device, precision, threads and memory of a run."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from hadamax.errors import UserError

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
