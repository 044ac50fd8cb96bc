"""Compiles the C++ kernel with the system's compiler on first use and keeps it in the user's cache.

A library is found again by what went into it: sources, macros, compiler and processor. Files are written
under temporary names and renamed, and a library is stored under the hash of its own bytes, so processes that
build at the same time cannot disturb one another and a damaged file is noticed before it is loaded.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
COMPILERS = ("c++", "g++", "clang++")
# No -ffast-math: it hides NaN, and where it reaches the linker it changes arithmetic in the whole process.
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-w")
# The best first. Without OpenMP the kernel works on one core.
MACHINE_FLAGS = (
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)
SECONDS = 300


class BuildError(Exception):
    """There is no library to be had: why, in a few words."""


def build(macros: tuple[str, ...], source: str = "block.cpp") -> ctypes.CDLL:
    """The library of a source compiled with these `NAME=VALUE` macros, from the cache or anew.

    Raises:
        BuildError: no compiler, a compiler that fails, or a cache that cannot be written.
    """
    index = _index(macros, source)
    return _load(index) or _compile(index, _compiler()[0], macros, source)


def is_cached(macros: tuple[str, ...], source: str = "block.cpp") -> bool:
    """Whether `build` has been here before, with this compiler and these sources."""
    try:
        return _index(macros, source).is_file()
    except (BuildError, OSError):
        return False


def compiler_name() -> str:
    """What the compiler calls itself, which decides how the kernels round; `none` where there is none."""
    try:
        return _compiler()[1].splitlines()[0]
    except (BuildError, IndexError):
        return "none"


def cache_folder() -> Path:
    """Where libraries are kept: below `XDG_CACHE_HOME`, or `~/.cache`.

    Raises:
        BuildError: there is neither.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "hadamax" / "kernels"
    except RuntimeError as error:  # a user without a home
        raise BuildError("there is no home folder to keep it in; set XDG_CACHE_HOME") from error


def _index(macros: tuple[str, ...], source: str) -> Path:
    return cache_folder() / hashlib.sha256(_recipe(macros, source, _compiler()[1])).hexdigest()


def _recipe(macros: tuple[str, ...], source: str, compiler_version: str) -> bytes:
    parts = [compiler_version, _processor(), repr((FLAGS, MACHINE_FLAGS)), source, *macros]
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.suffix in {".h", ".cpp"}]
    return b"\0".join([part.encode() for part in parts] + sources)


def _compiler() -> tuple[str, str]:
    """The path of a C++ compiler, `CXX` before the usual names, and what it says of itself."""
    for name in (os.environ.get("CXX"), *COMPILERS):
        path = shutil.which(name) if name else None
        if path:
            return path, _version(path)
    raise BuildError(f"no C++ compiler found ({', '.join(COMPILERS)})")


@functools.lru_cache
def _version(compiler: str) -> str:
    return _run([compiler, "--version"])


@functools.lru_cache
def _processor() -> str:
    """What `native` means here."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return " ".join((platform.machine(), platform.processor(), features))


def _load(index: Path) -> ctypes.CDLL | None:
    """The library an index names; None where there is none or its bytes are not what they were."""
    try:
        digest = index.read_text()
        path = index.with_name(f"{digest}.so")
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return ctypes.CDLL(str(path))
    except (OSError, ValueError):
        pass
    return None


def _compile(index: Path, compiler: str, macros: tuple[str, ...], source: str) -> ctypes.CDLL:
    folder = index.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            built = Path(name) / "library"
            _try_compiling(compiler, macros, source, built)
            if not built.is_file():
                raise BuildError(f"{compiler} made no library")
            digest = hashlib.sha256(built.read_bytes()).hexdigest()
            os.replace(built, folder / f"{digest}.so")
            note = Path(name) / "index"
            note.write_text(digest)
            os.replace(note, index)
    except OSError as error:
        raise BuildError(f"the cache {folder} cannot be used ({error.strerror or error})") from error
    library = _load(index)
    if library is None:
        raise BuildError(f"the library that {compiler} made cannot be loaded")
    return library


def _try_compiling(compiler: str, macros: tuple[str, ...], source: str, output: Path) -> None:
    defines = [f"-D{macro}" for macro in macros]
    command = [compiler, *FLAGS, *defines, str(SOURCES / source), "-o", str(output)]
    reason = ""
    for flags in MACHINE_FLAGS:
        try:
            _run([*command, *flags])
            return
        except BuildError as error:
            reason = reason or str(error)
    raise BuildError(reason)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{command[0]} does not run ({error})") from error
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
        raise BuildError(f"{command[0]} fails ({said[:200] or f'exit code {done.returncode}'})")
    return done.stdout
