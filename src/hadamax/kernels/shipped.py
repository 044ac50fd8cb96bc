"""Libraries that a wheel brings: the usual kernels, compiled ahead for every kind of processor that it may meet.

`setup.py` compiles them into `compiled/KIND/`, and the best kind that this processor has is loaded. What is not among
them is compiled here on first use, as everything is where there is no wheel. This file imports nothing: the build
reads it where PyTorch is not installed.
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
COMPILER = "compiler.txt"  # in FOLDER: what the compiler called itself

Library = tuple[str, ...]  # a source file and its macros


class Kind(NamedTuple):
    """A kind of processor: what it must have, and what the compiler is told."""

    name: str
    machine: str
    features: frozenset[str]  # as /proc/cpuinfo names them
    flags: tuple[str, ...]
    bfloat16_only: bool = False  # differs from the kind after it in bfloat16 alone

    def serves(self, library: Library) -> bool:
        """Whether the library is to be compiled for this kind."""
        return not self.bfloat16_only or "HADAMAX_ELEMENT=bfloat16" in library


# The best first. Older processors than these have no kernel in the wheel.
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
# Activations, whether there is a norm, and (channels, window, stride): zeros are a library for any.
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
INSTALLED = ("nature-norm", "hadamax")  # compiled where a person installs from a clone; the rest on first use


def libraries(names: tuple[str, ...] = tuple(BLOCKS)) -> list[Library]:
    """What a wheel ships for some of the encoders of `BLOCKS`."""
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
    """The library of a block: block.cpp with its macros."""
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
    """Where it is below its kind: a change of its sources is another library."""
    return f"{library[0].removesuffix('.cpp')}-{_digest(library)}.so"


@functools.lru_cache(maxsize=1024)
def _digest(library: Library) -> str:
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.suffix in {".h", ".cpp"}]
    return hashlib.sha256(b"\0".join([*(part.encode() for part in library), *sources])).hexdigest()[:24]


def kinds() -> list[Kind]:
    """The kinds that this processor is, the best first."""
    has = features()
    return [kind for kind in KINDS if kind.machine == platform.machine() and kind.features <= has]


@functools.lru_cache
def features() -> frozenset[str]:
    """What the processor has and the system lets be used; nothing where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return frozenset(found.partition(":")[2].split())


def paths(library: Library) -> list[Path]:
    """The shipped forms of a library that this processor can run, the best first."""
    found = [FOLDER / kind.name / file_name(library) for kind in kinds()] if FOLDER.is_dir() else []
    return [path for path in found if path.is_file()]


def load(library: Library) -> ctypes.CDLL | None:
    """The shipped form of a library; None where there is none, or none that can be loaded."""
    for path in paths(library):
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # OpenMP's library is not there, say
            continue
    return None


def compiler() -> str | None:
    """What compiled the libraries that were shipped for this processor; None where none were."""
    try:
        found = [kind.name for kind in kinds() if (FOLDER / kind.name).is_dir()]
        return f"{(FOLDER / COMPILER).read_text().strip()}, shipped for {found[0]}" if found else None
    except OSError:
        return None
