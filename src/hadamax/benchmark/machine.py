"""Description of the machine: processor, features, versions, and the implementation of each block."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import hadamax
from hadamax.kernels import ConvGeometry, Implementation, byte_convolution_obstacle, map_convolution_obstacle
from hadamax.kernels import cpu as kernels
from hadamax.networks import Encoder
from hadamax.networks.blocks import ConvBlock, ResidualBlock, ResidualStage

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


def describe(threads: int) -> dict[str, Any]:
    """Describe the machine."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "features": [name for name in FEATURES if name in _flags()],
        "bfloat16": bool(torch.cpu._is_avx512_bf16_supported()),
        "amx": bool(torch.cpu._is_amx_tile_supported()),
        "compiler": kernels.compiler(),
        "versions": {"hadamax": hadamax.__version__}
        | {name: _version(name) for name in ("torch", "triton", "jax", "flax", "ale-py")},
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def serving(encoder: Encoder, dtype: torch.dtype, device: str = "cpu") -> list[str]:
    """List the implementation of each convolution block of an image encoder, and the reason for it.

    On the CPU also that of the first convolution, which reads bytes, and of others that are not PyTorch's.
    """
    channels, *of_image = encoder.observation_shape
    size, lines = (of_image[0], of_image[1]), []
    blocks: Any = encoder.blocks
    for number, block in enumerate(blocks, start=1):
        inner = list(_convolutions(block, size))
        if torch.device(device).type == "cpu":
            if number == 1 and inner:
                lines.append(f"convolution 1: {_of_bytes(inner[0][0], torch.empty(0, channels, *size), dtype)}")
            elif any(_uses_fft(convolution, at, dtype) for convolution, at in inner):
                lines.append(f"convolution {number}: FFT, C++")
        said = dict.fromkeys(_words(convolution.served_by(*at, dtype, device)) for convolution, at in inner)
        if said:
            lines.append(f"block {number}: {', and '.join(said)}")
        size = block.output_size(*size)
    return lines


def _of_bytes(block: ConvBlock, seen: torch.Tensor, dtype: torch.dtype) -> str:
    geometry = block.layer.byte_geometry(seen, 255.0)._replace(dtype=dtype)
    reason = byte_convolution_obstacle(seen.shape[2:], block.layer.weight, geometry)
    return "FFT, C++" if reason is None else f"PyTorch's: {reason}"


def _uses_fft(block: ConvBlock, size: tuple[int, int], dtype: torch.dtype) -> bool:
    layer = block.layer
    geometry = ConvGeometry(layer.stride, layer.window.margins(*size))
    return dtype == torch.float32 and map_convolution_obstacle(torch.Size(size), layer.weight, geometry) is None


def _convolutions(block: Any, size: tuple[int, int]) -> Iterator[tuple[ConvBlock, tuple[int, int]]]:
    """Yield the convolution blocks in a block, with the height and width of their inputs."""
    if isinstance(block, ConvBlock):
        yield block, size
    elif isinstance(block, ResidualStage):
        yield block.entry, size
        for residual in block.residuals.children():
            assert isinstance(residual, ResidualBlock)
            yield from ((part, block.output_size(*size)) for part in (residual.hidden, residual.linear))


def _words(served: Implementation) -> str:
    named = {"cpu": "fused, C++", "cuda": "fused, Triton"}
    return named.get(served.name, f"plain PyTorch: {served.reason}")


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
