"""Compiles the C++ kernel with the system's compiler on first use and keeps it in the user's cache.

A library is found again by what went into it: sources, macros, compiler and processor. Files are written
under temporary names and renamed, and a library is stored under the hash of its own bytes, so processes that
build at the same time cannot disturb one another and a damaged file is noticed before it is loaded. What another
user could have put there is not loaded at all.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
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
ROOT = 0  # who may be trusted beside oneself

log = logging.getLogger("hadamax.kernels")


class BuildError(Exception):
    """There is no library to be had: why, in a few words."""


class RefusedError(BuildError):
    """The compiler ran and would not have a source: it may take the others."""


def build(macros: tuple[str, ...], source: str = "block.cpp") -> ctypes.CDLL:
    """The library of a source compiled with these `NAME=VALUE` macros, from the cache or anew.

    Raises:
        BuildError: no compiler, a compiler that fails, or a cache that cannot be written or that others can write to.
    """
    index = _index(macros, source)
    library = _load(index)
    if library is None:
        _compile(index, find_compiler()[0], macros, source)
        library = _load(index)
    if library is None:
        raise BuildError(f"the library that {find_compiler()[0][0]} made cannot be loaded")
    _warn(_lost(index), index.parent)
    return library


def lacking(macros: tuple[str, ...], source: str = "block.cpp") -> str:
    """What a library in the cache lacks because the compiler took no better flags; empty where nothing is."""
    try:
        return _lost(_index(macros, source))
    except BuildError:
        return ""


def _lost(index: Path) -> str:
    try:
        flags = index.read_text().split()[1:]
    except (OSError, ValueError):
        return ""
    lost = "" if "-fopenmp" in flags else "one core only (no OpenMP)"
    if not {"-march=native", "-mcpu=native"} & set(flags):
        lost += f"{' and ' if lost else ''}a processor of any kind, not this one"
    return lost


@functools.lru_cache
def _warn(lost: str, folder: Path) -> None:
    if lost:
        words = "The kernels are compiled for %s, and slower for it. With a compiler that can do more, delete %s."
        log.warning(words, lost, folder)


def is_cached(macros: tuple[str, ...], source: str = "block.cpp") -> bool:
    """Whether `build` has been here before, with this compiler and these sources."""
    try:
        return _index(macros, source).is_file()
    except (BuildError, OSError):
        return False


def compiler_name() -> str:
    """What the compiler calls itself, which decides how the kernels round; `none` where there is none."""
    try:
        return _printable(find_compiler()[1].splitlines()[0])
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
    (_, *options), version = find_compiler()
    return cache_folder() / hashlib.sha256(_recipe(macros, source, " ".join([*options, version]))).hexdigest()


def _recipe(macros: tuple[str, ...], source: str, compiler: str) -> bytes:
    parts = ["2", compiler, _processor(), repr((FLAGS, MACHINE_FLAGS)), source, *macros]  # 2: form of an index
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.suffix in {".h", ".cpp"}]
    return b"\0".join([part.encode() for part in parts] + sources)


def find_compiler() -> tuple[tuple[str, ...], str]:
    """The command of a C++ compiler, `CXX` before the usual names, and what it says of itself."""
    return _find(os.environ.get("CXX", ""), os.environ.get("PATH"))


@functools.lru_cache
def _find(chosen: str, _path: str | None) -> tuple[tuple[str, ...], str]:
    for words in (_words(chosen), *([name] for name in COMPILERS)):
        path = shutil.which(words[0]) if words else None
        if path:
            command = (path, *words[1:])
            return command, _run([*command, "--version"])
        if words == _words(chosen) != []:
            log.warning("CXX: there is no %s; another C++ compiler is looked for.", words[0])
    raise BuildError(f"no C++ compiler found ({', '.join(COMPILERS)})")


def _words(chosen: str) -> list[str]:
    try:
        return shlex.split(chosen)
    except ValueError:  # a quotation that does not end
        return [chosen]


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
    """The library an index names; None where there is none or its bytes are not what they were.

    Raises:
        BuildError: another user could have put it there.
    """
    check_ours(index.parent)
    try:
        digest = index.read_text().split()[0]
        path = index.with_name(f"{digest}.so")
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return ctypes.CDLL(str(path))
    except (OSError, ValueError, IndexError):
        pass
    return None


def check_ours(folder: Path) -> None:
    """Raise a BuildError where a cache cannot be looked into, or another user could have put something there."""
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _unusable(folder, error) from error
    if not hasattr(os, "getuid"):
        return
    if status.st_uid not in {os.getuid(), ROOT} or status.st_mode & 0o022:
        raise BuildError(f"the cache {folder} is another user's or can be written by others; set XDG_CACHE_HOME")


def _compile(index: Path, compiler: tuple[str, ...], macros: tuple[str, ...], source: str) -> None:
    folder = index.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            built = Path(name) / "library"
            flags = _try_compiling(compiler, macros, source, built)
            if not built.is_file():
                raise BuildError(f"{compiler[0]} made no library")
            digest = hashlib.sha256(built.read_bytes()).hexdigest()
            os.replace(built, folder / f"{digest}.so")
            note = Path(name) / "index"
            note.write_text(" ".join((digest, *flags)))
            os.replace(note, index)
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> BuildError:
    return BuildError(f"the cache {folder} cannot be used ({error.strerror or error}); set XDG_CACHE_HOME")


def _try_compiling(compiler: tuple[str, ...], macros: tuple[str, ...], source: str, output: Path) -> tuple[str, ...]:
    """The first of `MACHINE_FLAGS` that work."""
    defines = [f"-D{macro}" for macro in macros]
    command = [*compiler, *FLAGS, *defines, str(SOURCES / source), "-o", str(output)]
    reason = ""
    for flags in MACHINE_FLAGS:
        try:
            _run([*command, *flags])
            return flags
        except BuildError as error:
            reason = reason or str(error)
            if error.__cause__ is not None:  # it did not run, or not to its end: no flag will mend that
                raise BuildError(reason) from error
    raise RefusedError(reason)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} does not end within {SECONDS} s") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{command[0]} does not run ({error})") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        said = next((line for line in lines if "error" in line), (lines or [f"exit code {done.returncode}"])[0])
        raise BuildError(f"{command[0]} fails ({_printable(said[:200])})")
    return done.stdout


def _printable(words: str) -> str:
    """What a program said, as it may stand on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in words)
