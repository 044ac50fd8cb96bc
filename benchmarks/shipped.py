"""Shipped kernels of a wheel compared with kernels compiled for this processor: medians of ratios of CPU time.

python benchmarks/shipped.py dist/hadamax_rl-0.1.0-py3-none-linux_x86_64.whl
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import torch

from hadamax.kernels import build, cpu, keep_memory, shipped
from hadamax.kernels.block_config import BlockConfig

ROUNDS, WARM = 40, 5
BLOCKS = ((32, 84, (4, 4, 0, 0)), (64, 21, (2, 2, 0, 1)), (64, 11, (3, 1, 1, 1)))  # of the encoder `hadamax`


def main(wheel: str) -> None:
    torch.set_num_threads(1)
    keep_memory()  # as in a run; otherwise page faults disturb the timing
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        compiled = Path(folder) / "hadamax" / "kernels" / "compiled"
        for dtype in (torch.float32, torch.bfloat16):
            for channels, size, pool in BLOCKS:
                variant = BlockConfig(2, ("gelu_tanh", "gelu_tanh"), "product", "channels", 1e-6, pool)
                ratios, native = measure(compiled, dtype, variant, channels, size)
                said = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in ratios.items())
                print(f"{dtype}, {channels} channels, {size} x {size}: native {native * 1e3:.2f} ms; {said}")


def measure(
    compiled: Path, dtype: torch.dtype, variant: BlockConfig, channels: int, size: int
) -> tuple[dict[str, float], float]:
    """Return the native time in seconds relative to which each kind's ratio is given, and the ratios."""
    macros = cpu.macros(dtype, variant, channels)
    libraries = {"native": build.build(macros)}
    for kind in shipped.kinds():
        path = compiled / kind.name / shipped.file_name(("block.cpp", *macros))
        if path.is_file():
            libraries[kind.name] = ctypes.CDLL(str(path))
    x = torch.randn(16, 2 * channels, size, size).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(2 * channels)
    seconds: dict[str, list[float]] = {name: [] for name in libraries}
    for _ in range(ROUNDS):
        for name, library in libraries.items():
            began = time.thread_time()
            y, positions = cpu.forward(library, x, weight, None, variant)
            cpu.backward(library, y, x, weight, None, positions, variant)
            seconds[name].append(time.thread_time() - began)
    native = seconds.pop("native")[WARM:]
    ratios = {
        name: statistics.median(a / b for a, b in zip(times[WARM:], native, strict=True))
        for name, times in seconds.items()
    }
    return ratios, statistics.median(native)


if __name__ == "__main__":
    main(sys.argv[1])
