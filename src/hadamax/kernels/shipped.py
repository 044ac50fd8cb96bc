"""Libraries shipped in the wheel: the usual kernels, compiled ahead for several kinds of processor.

`setup.py` compiles them into `compiled/KIND/`, and the best kind that the processor supports is loaded. Other kernels,
and all kernels without a wheel, are compiled on first use. This module imports nothing else of the package, because
`setup.py` reads it where PyTorch is not installed.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parent / "csrc"
FOLDER = Path(__file__).parent / "compiled"
COMPILER = "compiler.txt"  # file in FOLDER with the compiler's version line

Library = tuple[str, ...]  # a source file and its macros


class Kind(NamedTuple):
    """A kind of processor: its required features and the compiler flags."""

    name: str
    machine: str
    features: frozenset[str]  # as /proc/cpuinfo names them
    flags: tuple[str, ...]
    bfloat16_only: bool = False  # float32 libraries are the same as those of the next kind

    def serves(self, library: Library) -> bool:
        """Return True if the library is compiled for this kind."""
        return not self.bfloat16_only or "HADAMAX_ELEMENT=bfloat16" in library


# Best first. There are no shipped kernels for older processors.
_V3 = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"))
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
KINDS = (
    Kind("x86-64-v4-bf16", "x86_64", _V4 | {"avx512_bf16"}, ("-march=x86-64-v4", "-mavx512bf16"), bfloat16_only=True),
    Kind("x86-64-v4", "x86_64", _V4, ("-march=x86-64-v4",)),
    Kind("x86-64-v3", "x86_64", _V3, ("-march=x86-64-v3",)),
    Kind("armv8-a", "aarch64", frozenset(("asimd",)), ("-march=armv8-a",)),
)
ELEMENTS = ("float", "bfloat16")
INPUTS = {"float": ("uint8_t", "float"), "bfloat16": ("uint8_t",)}  # of convolutions
# Activations, whether there is a norm, and (channels, window, stride); zeros for any.
BLOCKS: dict[str, tuple[tuple[str, ...], int, tuple[tuple[int, int, int], ...]]] = {
    "nature-norm": (("Relu",), 1, ((32, 1, 1), (64, 1, 1), (0, 0, 0))),
    "nature-norm-tanh-2": (("Tanh", "Tanh"), 1, ((32, 1, 1), (64, 1, 1), (0, 0, 0))),
    "hadamax": (("GeluTanh", "GeluTanh"), 1, ((32, 4, 4), (64, 2, 2), (64, 3, 1), (0, 0, 0))),
    "hadamax-fast": (("GeluTanh", "GeluTanh"), 1, ((32, 2, 2),)),
    "hadamax-light": (("GeluTanh", "GeluTanh"), 1, ((16, 2, 2), (32, 2, 2), (32, 3, 1))),
    "hadamax-deep": (("Gelu", "Gelu"), 1, ((32, 2, 2), (48, 2, 2), (64, 3, 1), (64, 2, 2))),
    "minatar": (("Relu",), 1, ((16, 1, 1),)),
    "hadamax-minatar": (("GeluTanh", "GeluTanh"), 1, ((16, 3, 1),)),
}
INSTALLED = ("nature-norm", "hadamax")  # compiled when installing from a clone; others on first use


def libraries(names: tuple[str, ...] = tuple(BLOCKS)) -> list[Library]:
    """List the libraries that a wheel ships for encoders of `BLOCKS`."""
    found: list[Library] = [("radam.cpp",)]
    for element in ELEMENTS:
        found += [("observations.cpp", f"HADAMAX_ELEMENT={element}")]
        found += [("convolution.cpp", f"HADAMAX_ELEMENT={element}", f"HADAMAX_INPUT={of}") for of in INPUTS[element]]
        for activations, norm, sizes in (BLOCKS[name] for name in names):
            found += [block(element, activations, False, norm, *size) for size in sizes]
    return list(dict.fromkeys(found))


def block(
    element: str, activations: tuple[str, ...], summed: bool, norm: int, channels: int, window: int, stride: int
) -> Library:
    """Return the library of a block: block.cpp and its macros."""
    return (
        "block.cpp",
        f"HADAMAX_ELEMENT={element}",
        "HADAMAX_ACTIVATIONS=" + ",".join(f"{name}<PRECISE>" for name in activations),
        f"HADAMAX_SUM={int(summed)}",
        f"HADAMAX_NORM={int(norm)}",
        f"HADAMAX_CHANNELS={channels}",
        f"HADAMAX_WINDOW={window}",
        f"HADAMAX_STRIDE={stride}",
    )


def file_name(library: Library) -> str:
    """Return the file name within its kind's folder; it changes with the sources."""
    return f"{library[0].removesuffix('.cpp')}-{_digest(library)}.so"


@functools.lru_cache(maxsize=1024)
def _digest(library: Library) -> str:
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.suffix in {".h", ".cpp"}]
    return hashlib.sha256(b"\0".join([*(part.encode() for part in library), *sources])).hexdigest()[:24]


def kinds() -> list[Kind]:
    """List the kinds that this processor supports, best first."""
    has = features()
    return [kind for kind in KINDS if kind.machine == platform.machine() and kind.features <= has]


@functools.lru_cache
def features() -> frozenset[str]:
    """Return the usable features of the processor; empty if the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return frozenset(found.partition(":")[2].split())


def paths(library: Library) -> list[Path]:
    """List the shipped files of a library that this processor can run, best first."""
    found = [FOLDER / kind.name / file_name(library) for kind in kinds()] if FOLDER.is_dir() else []
    return [path for path in found if path.is_file()]


def load(library: Library) -> ctypes.CDLL | None:
    """Load the best shipped file of a library; None if there is none or none can be loaded."""
    for path in paths(library):
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # for example, the OpenMP runtime is missing
            continue
    return None


def compiler() -> str | None:
    """Describe the compiler of the libraries shipped for this processor; None if there are none."""
    try:
        found = [kind.name for kind in kinds() if (FOLDER / kind.name).is_dir()]
        return f"{(FOLDER / COMPILER).read_text().strip()}, shipped for {found[0]}" if found else None
    except OSError:
        return None
