"""What is measured on: processor, its features, versions, and what computes each block."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from hadamax.kernels import byte_convolution_obstacle
from hadamax.kernels import cpu as kernels
from hadamax.networks import build_encoder
from hadamax.networks.blocks import ConvBlock

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


def describe(threads: int) -> dict[str, Any]:
    """The machine, in words and numbers."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "features": [name for name in FEATURES if name in _flags()],
        "bfloat16": bool(torch.cpu._is_avx512_bf16_supported()),
        "amx": bool(torch.cpu._is_amx_tile_supported()),
        "compiler": kernels.compiler(),
        "versions": {name: _version(name) for name in ("hadamax", "torch", "triton", "jax", "flax", "ale-py")},
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def serving(encoder: str, dtype: torch.dtype, device: str = "cpu") -> list[str]:
    """For each convolution block of an encoder on 84 x 84, what computes it after the convolution, and why.

    Of the first one's convolution, which takes bytes, too.
    """
    size, lines = (84, 84), []
    blocks: Any = build_encoder(encoder).blocks
    for number, block in enumerate(blocks, start=1):
        if isinstance(block, ConvBlock):
            if number == 1 and torch.device(device).type == "cpu":
                geometry = block.layer.byte_geometry(torch.empty(0, 4, *size), 255.0)._replace(dtype=dtype)
                reason = byte_convolution_obstacle(block.layer.weight, geometry)
                words = "by quarters, C++" if reason is None else f"PyTorch's: {reason}"
                lines.append(f"convolution 1: {words}")
            name, reason = block.served_by(*size, dtype, device)
            words = {"cpu": "fused, C++", "cuda": "fused, Triton"}.get(name, f"plain PyTorch: {reason}")
            lines.append(f"block {number}: {words}")
        size = block.output_size(*size)
    return lines


def _cpuinfo(*names: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.lower().startswith(names)), "")


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _flags() -> set[str]:
    return set(_cpuinfo("flags", "features").split())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
