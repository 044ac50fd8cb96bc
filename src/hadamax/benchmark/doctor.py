"""Description of the machine, and the checks of `hadamax doctor`, which return findings and raise no errors."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

import hadamax
from hadamax.errors import one_line
from hadamax.kernels import (
    ConvGeometry,
    Implementation,
    build,
    byte_convolution_obstacle,
    cpu,
    hadamax_block,
    map_convolution_obstacle,
    shipped,
)
from hadamax.kernels import cpu as kernels
from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.reference import reference_block
from hadamax.networks import Encoder
from hadamax.networks.blocks import ConvBlock, ResidualBlock, ResidualStage
from hadamax.runs.machine import bfloat16_is_native, choose_threads

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


REQUIRED = (
    "torch",
    "numpy",
    "gymnasium",
    "ale_py",
    "safetensors",
    "scipy",
    "matplotlib",
    "tensorboard",
    "rich",
    "tyro",
)
COMPILERS = {  # command that installs a C++ compiler, by package manager
    "apt-get": "apt-get install g++",
    "dnf": "dnf install gcc-c++",
    "apk": "apk add g++",
    "pacman": "pacman -S gcc",
    "zypper": "zypper install gcc-c++",
    "xcode-select": "xcode-select --install",
}
HADAMAX_BLOCK = BlockConfig(2, ("gelu_tanh", "gelu_tanh"), "product", "channels", 1e-6, (4, 4, 0, 0))


class Check(NamedTuple):
    """Result of a check: what was checked, what was found, and the command that fixes it, if needed."""

    name: str
    text: str
    mend: str = ""
    broken: bool = False
    optional: bool = False  # the command adds a feature


def versions() -> list[Check]:
    """Check the versions of hadamax, Python and PyTorch, and the imports of required packages."""
    ours = f"{hadamax.__version__} in {Path(hadamax.__file__).parent}"
    found = [Check("hadamax", f"{ours}, Python {platform.python_version()}")]
    for name in REQUIRED:
        try:
            import_module(name)
        except Exception as error:  # whatever a broken installation raises
            mend = f"pip install --force-reinstall {name.replace('_', '-')}"
            found.append(Check(name, f"cannot be imported: {one_line(error)}", mend, broken=True))
    return [*found, Check("torch", torch.__version__)]


def processor() -> list[Check]:
    """Check the processor model, its cores, a container's share of them, and its vector instructions."""
    about = describe(choose_threads(0))
    cores, granted = int(about["cores"]), _granted_cores()
    text, mend = f"{about['processor']}, {cores} cores, {cores} threads per run by default", ""
    if granted is not None and granted < cores:
        mend = f"use as many threads: hadamax train ... --threads {max(1, int(granted))}"
        text += f"; this container may use {granted:g} of them"
    native = bfloat16_is_native(torch.device("cpu"))
    arithmetic = "native, used by --precision auto" if native else "not native; --precision auto uses float32"
    features = ", ".join(about["features"]) or "none of those used here"
    return [
        Check("processor", text, mend),
        Check("bfloat16", f"{arithmetic}; AMX: {'yes' if about['amx'] else 'no'}; features: {features}"),
    ]


def memory() -> list[Check]:
    """Check total and free memory."""
    try:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(rows[name].split()[0]) / 2**20 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):
        return [Check("memory", "unknown on this system")]
    return [Check("memory", f"{total:.1f} GiB, {free:.1f} GiB of it free")]


def compiler() -> list[Check]:
    """Check the C++ compiler and the cache of compiled kernels."""
    name = build.compiler_name()
    own = Path(tempfile.gettempdir()) / f"cache-{os.getuid() if hasattr(os, 'getuid') else 'hadamax'}"
    mend = f"export XDG_CACHE_HOME={own} (kernels are compiled into it once)"
    try:
        folder = build.cache_folder()
        build.check_ownership(folder)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            cache = Check("cache", f"{folder} is writable")
    except build.BuildError as error:
        cache = Check("cache", str(error), mend)
    except OSError as error:
        cache = Check("cache", f"{folder} cannot be written ({error.strerror})", mend)
    if name != "none":
        return [Check("compiler", name), cache]
    mend = next((how for tool, how in COMPILERS.items() if shutil.which(tool)), "install g++ or clang++")
    if os.environ.get("CXX") and any(map(shutil.which, build.COMPILERS)):
        mend = "unset CXX"
    return [Check("compiler", "none: kernels that are not in the wheel cannot be compiled", mend), cache]


def kernel() -> list[Check]:
    """Check the kernel of Hadamax's first block: its origin, and its results against PyTorch."""
    try:
        if not cpu.wanted():
            return [Check("CPU kernel", "turned off by HADAMAX_KERNELS", "unset HADAMAX_KERNELS")]
    except ValueError as error:
        return [Check("CPU kernel", str(error), "unset HADAMAX_KERNELS", broken=True)]
    macros = cpu.macros(torch.float32, HADAMAX_BLOCK, 32)
    is_shipped = os.environ.get("HADAMAX_KERNELS") != "native" and shipped.load(("block.cpp", *macros)) is not None
    cached, began = build.is_cached(macros), time.perf_counter()
    if cpu.library(torch.float32, HADAMAX_BLOCK, 32) is None:
        mend = next((f.mend for f in compiler() if f.mend), "hadamax bench --quick")  # reports the reason
        return [Check("CPU kernel", f"none, plain PyTorch is used instead: {cpu.failure()}", mend)]
    seconds = time.perf_counter() - began
    where = f"compiled now in {seconds:.1f} s and added to the cache"
    if is_shipped:
        where = f"shipped in the wheel, for {shipped.paths(('block.cpp', *macros))[0].parent.name}"
    elif cached:
        where = "from the cache, compiled for this processor"
    x, ones = torch.randn(2, 64, 8, 8), torch.ones(64)
    ours = hadamax_block(x, ones, None, **HADAMAX_BLOCK._asdict())
    wrong = not torch.allclose(ours, reference_block(x, ones, None, HADAMAX_BLOCK), rtol=1e-4, atol=1e-5)
    if wrong:
        return [Check("CPU kernel", f"{where}; its results are wrong", "export HADAMAX_KERNELS=reference", True)]
    missing = "" if is_shipped else build.missing_features(macros)
    if missing:
        mend = f"install a g++ with OpenMP, then rm -r {build.cache_folder()}"
        return [
            Check("CPU kernel", f"{where}, for {missing}; results match PyTorch, but it is slower than necessary", mend)
        ]
    return [Check("CPU kernel", f"{where}; results match PyTorch")]


def gpu() -> list[Check]:
    """Check the CUDA device, and Triton for its kernels."""
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
            text = f"an NVIDIA driver is installed, but this PyTorch ({torch.__version__}) cannot use it"
            how = "pip install --force-reinstall torch --index-url (a CUDA build's, see pytorch.org)"
            return [Check("GPU", text, how)]
        return [Check("GPU", "none; everything runs on the CPU")]
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    try:
        triton = Check("Triton", version("triton"))
    except PackageNotFoundError:
        triton = Check("Triton", "not installed: plain PyTorch is used on the GPU", "pip install triton")
    return [Check("GPU", f"{', '.join(names)}; CUDA {torch.version.cuda}"), triton]


def games() -> list[Check]:
    """Check the Atari emulator and its ROMs."""
    try:
        from ale_py import roms

        folder = Path(os.environ.get("ALE_ROMS_DIR") or Path(roms.__file__).parent)
        known = roms.get_all_rom_ids()
        here = [rom for rom in known if (folder / f"{rom}.bin").is_file()]
    except Exception as error:  # whatever a broken installation raises
        return [Check("Atari", one_line(error), "pip install --force-reinstall ale-py", broken=True)]
    text = f"ale-py {version('ale-py')}, {len(here)} of {len(known)} ROMs in {folder}"
    if "pong" not in here:
        mend = "unset ALE_ROMS_DIR" if "ALE_ROMS_DIR" in os.environ else "pip install --force-reinstall ale-py"
        return [Check("Atari", text, mend, broken=True)]
    return [Check("Atari", text)]


def extras() -> list[Check]:
    """Check each extra: versions of its packages, or the command that installs them."""
    wanted: dict[str, list[str]] = {}
    with contextlib.suppress(PackageNotFoundError):
        for line in requires("hadamax-rl") or []:
            match = re.match(r"([\w.-]+).*extra == [\"'](\w+)[\"']", line)
            if match and match[2] != "dev" and match[1] not in wanted.get(match[2], []):
                wanted.setdefault(match[2], []).append(match[1])
    found = []
    for extra, packages in wanted.items():
        there = {}
        for package in packages:
            with contextlib.suppress(PackageNotFoundError):
                there[package] = version(package)
        if len(there) == len(packages):
            found.append(Check(f"[{extra}]", ", ".join(f"{name} {v}" for name, v in there.items())))
        else:
            missing = ", ".join(package for package in packages if package not in there)
            mend = f"pip install 'hadamax-rl[{extra}]'"
            found.append(Check(f"[{extra}]", f"missing: {missing}", mend, optional=True))
    return found


CHECKS: tuple[Callable[[], list[Check]], ...] = (
    versions,
    processor,
    memory,
    compiler,
    kernel,
    gpu,
    games,
    extras,
)


def _granted_cores() -> float | None:
    """Return the number of cores that a container may use; None if it is unlimited."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None
