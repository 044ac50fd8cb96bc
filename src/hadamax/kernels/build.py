"""Compilation of the C++ kernels on first use, with a cache in the user's home folder.

A library is identified by a hash of its sources, macros, compiler and processor. Files are written under temporary
names and renamed, and a library is stored under the hash of its own bytes. Concurrent builds therefore cannot
interfere, and a damaged file is detected before it is loaded. A cache that another user could have written to is
rejected.
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
# No -ffast-math: it breaks NaN, and when linking it changes the floating-point mode of the whole process.
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-w")
# Tried in this order. Without OpenMP the kernels use one core.
MACHINE_FLAGS = (
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)
SECONDS = 300  # timeout of the compiler
ROOT = 0  # user id whose files are trusted besides the current user's

log = logging.getLogger("hadamax.kernels")


class BuildError(Exception):
    """A library cannot be built; the message says why."""


class RefusedError(BuildError):
    """The compiler rejected a source file; others may still compile."""


def build(macros: tuple[str, ...], source: str = "block.cpp") -> ctypes.CDLL:
    """Return the library of a source file compiled with these `NAME=VALUE` macros, from the cache or newly built.

    Raises:
        BuildError: there is no compiler, compilation fails, or the cache is not writable or writable by other users.
    """
    index = _index(macros, source)
    library = _load(index)
    if library is None:
        _compile(index, find_compiler()[0], macros, source)
        library = _load(index)
    if library is None:
        raise BuildError(f"the library built by {find_compiler()[0][0]} cannot be loaded")
    _warn(_missing_features(index), index.parent)
    return library


def missing_features(macros: tuple[str, ...], source: str = "block.cpp") -> str:
    """Describe what a cached library lacks because the compiler rejected better flags; empty if nothing."""
    try:
        return _missing_features(_index(macros, source))
    except BuildError:
        return ""


def _missing_features(index: Path) -> str:
    try:
        flags = index.read_text().split()[1:]
    except (OSError, ValueError):
        return ""
    missing = "" if "-fopenmp" in flags else "one core only (no OpenMP)"
    if not {"-march=native", "-mcpu=native"} & set(flags):
        missing += f"{' and ' if missing else ''}a generic processor instead of this one"
    return missing


@functools.lru_cache
def _warn(missing: str, folder: Path) -> None:
    if missing:
        message = "The kernels are compiled for %s and therefore slower. Install a newer compiler, then delete %s."
        log.warning(message, missing, folder)


def is_cached(macros: tuple[str, ...], source: str = "block.cpp") -> bool:
    """Return True if the cache has this library for the current compiler and sources."""
    try:
        return _index(macros, source).is_file()
    except (BuildError, OSError):
        return False


def compiler_name() -> str:
    """Return the compiler's version line, which determines how the kernels round; `none` without a compiler."""
    try:
        return _printable(find_compiler()[1].splitlines()[0])
    except (BuildError, IndexError):
        return "none"


def cache_folder() -> Path:
    """Return the folder of the compiled libraries: below `XDG_CACHE_HOME`, or `~/.cache`.

    Raises:
        BuildError: neither exists.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "hadamax" / "kernels"
    except RuntimeError as error:  # a user without a home
        raise BuildError("there is no home folder for the cache; set XDG_CACHE_HOME") from error


def _index(macros: tuple[str, ...], source: str) -> Path:
    (_, *options), version = find_compiler()
    return cache_folder() / hashlib.sha256(_recipe(macros, source, " ".join([*options, version]))).hexdigest()


def _recipe(macros: tuple[str, ...], source: str, compiler: str) -> bytes:
    parts = ["2", compiler, _processor(), repr((FLAGS, MACHINE_FLAGS)), source, *macros]  # 2: format of the index file
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.suffix in {".h", ".cpp"}]
    return b"\0".join([part.encode() for part in parts] + sources)


def find_compiler() -> tuple[tuple[str, ...], str]:
    """Return the command of a C++ compiler (`CXX`, then the usual names) and its version text."""
    return _find(os.environ.get("CXX", ""), os.environ.get("PATH"))


@functools.lru_cache
def _find(chosen: str, _path: str | None) -> tuple[tuple[str, ...], str]:
    for words in (_words(chosen), *([name] for name in COMPILERS)):
        path = shutil.which(words[0]) if words else None
        if path:
            command = (path, *words[1:])
            return command, _run([*command, "--version"])
        if words == _words(chosen) != []:
            log.warning("CXX: %s does not exist; trying other C++ compilers.", words[0])
    raise BuildError(f"no C++ compiler found ({', '.join(COMPILERS)})")


def _words(chosen: str) -> list[str]:
    try:
        return shlex.split(chosen)
    except ValueError:  # an unterminated quotation
        return [chosen]


@functools.lru_cache
def _processor() -> str:
    """Identify the processor that `-march=native` compiles for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return " ".join((platform.machine(), platform.processor(), features))


def _load(index: Path) -> ctypes.CDLL | None:
    """Load the library that an index file names; None if it does not exist or its bytes have changed.

    Raises:
        BuildError: another user could have written it.
    """
    check_ownership(index.parent)
    try:
        digest = index.read_text().split()[0]
        path = index.with_name(f"{digest}.so")
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return ctypes.CDLL(str(path))
    except (OSError, ValueError, IndexError):
        pass
    return None


def check_ownership(folder: Path) -> None:
    """Raise BuildError if the cache is unreadable, or if another user could have written to it."""
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _unusable(folder, error) from error
    if not hasattr(os, "getuid"):
        return
    if status.st_uid not in {os.getuid(), ROOT} or status.st_mode & 0o022:
        raise BuildError(f"the cache {folder} belongs to another user or is writable by others; set XDG_CACHE_HOME")


def _compile(index: Path, compiler: tuple[str, ...], macros: tuple[str, ...], source: str) -> None:
    folder = index.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            built = Path(name) / "library"
            flags = _try_compiling(compiler, macros, source, built)
            if not built.is_file():
                raise BuildError(f"{compiler[0]} produced no library")
            digest = hashlib.sha256(built.read_bytes()).hexdigest()
            os.replace(built, folder / f"{digest}.so")
            note = Path(name) / "index"
            note.write_text(" ".join((digest, *flags)))
            os.replace(note, index)
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> BuildError:
    return BuildError(f"the cache {folder} is unusable ({error.strerror or error}); set XDG_CACHE_HOME")


def _try_compiling(compiler: tuple[str, ...], macros: tuple[str, ...], source: str, output: Path) -> tuple[str, ...]:
    """Compile with the first of `MACHINE_FLAGS` that work, and return them."""
    defines = [f"-D{macro}" for macro in macros]
    command = [*compiler, *FLAGS, *defines, str(SOURCES / source), "-o", str(output)]
    reason = ""
    for flags in MACHINE_FLAGS:
        try:
            _run([*command, *flags])
            return flags
        except BuildError as error:
            reason = reason or str(error)
            if error.__cause__ is not None:  # it could not run or timed out: other flags do not help
                raise BuildError(reason) from error
    raise RefusedError(reason)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} did not finish within {SECONDS} s") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{command[0]} could not be run ({error})") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        said = next((line for line in lines if "error" in line), (lines or [f"exit code {done.returncode}"])[0])
        raise BuildError(f"{command[0]} failed ({_printable(said[:200])})")
    return done.stdout


def _printable(words: str) -> str:
    """Replace unprintable characters of a program's output."""
    return "".join(letter if letter.isprintable() else "?" for letter in words)
