"""Compiles CPU kernels into the wheel; all else stands in pyproject.toml.

HADAMAX_BUILD_KERNELS says which. Unset, as where a person installs from a clone: those of nature-norm and hadamax, for
this processor; that takes half a minute, and others are compiled on first use. all, for a wheel that goes elsewhere:
everything in kernels/shipped.py, for every kind of processor; names from there, joined by commas: only theirs. 0: none,
as where there is no C++ compiler: the wheel is pure Python then.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

KERNELS = Path(__file__).parent / "src" / "hadamax" / "kernels"
# The files by themselves: PyTorch is not installed where wheels are built.
build, shipped = (runpy.run_path(str(KERNELS / name)) for name in ("build.py", "shipped.py"))


def compiler() -> tuple[str, ...] | None:
    """The command of the C++ compiler to use; None where there is none, or none is wanted."""
    if os.environ.get("HADAMAX_BUILD_KERNELS") == "0" or not sys.platform.startswith("linux"):
        return None
    try:
        return tuple(build["find_compiler"]()[0])
    except build["BuildError"]:
        return None


class Compile(build_py):
    """Copies the modules, then compiles the kernels that are wanted."""

    def run(self) -> None:
        super().run()
        command = compiler()
        if command is not None and not self.editable_mode:
            self.compile_kernels(command, Path(self.build_lib) / "hadamax" / "kernels" / "compiled")

    def compile_kernels(self, command: tuple[str, ...], folder: Path) -> None:
        jobs: list[tuple[list[str], Path]] = []
        for kind, libraries in self.wanted():
            for library in libraries:
                target = folder / kind.name / shipped["file_name"](library)
                macros = [f"-D{macro}" for macro in library[1:]]
                source = str(KERNELS / "csrc" / library[0])
                flags = [*build["FLAGS"], *kind.flags, "-fopenmp", "-s"]
                jobs.append(([*command, *flags, *macros, source, "-o", str(target)], target))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            made = list(pool.map(lambda job: self.compile_one(*job), jobs))
        print(f"hadamax: {sum(made)} of {len(jobs)} kernels compiled with {command[0]}")
        if any(made):
            (folder / shipped["COMPILER"]).write_text(build["compiler_name"]() + "\n")

    def wanted(self) -> list[tuple[Any, list[Any]]]:
        """Kinds of processors, and the libraries to compile for each."""
        setting = os.environ.get("HADAMAX_BUILD_KERNELS", "")
        kinds = [kind for kind in shipped["KINDS"] if kind.machine == os.uname().machine]
        if setting:
            libraries = shipped["libraries"](*([] if setting == "all" else [tuple(setting.split(","))]))
            return [(kind, [library for library in libraries if kind.serves(library)]) for kind in kinds]
        found, left = [], shipped["libraries"](shipped["INSTALLED"])
        for kind in shipped["kinds"]():
            found.append((kind, [library for library in left if kind.serves(library)]))
            left = [library for library in left if not kind.serves(library)]
        return found

    def compile_one(self, command: list[str], target: Path) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:  # a compiler that does not know this kind of processor
            print(f"hadamax: {target.name} is left out: {done.stderr.strip().splitlines()[:1]}", file=sys.stderr)
        return done.returncode == 0


class Wheel(bdist_wheel):
    """One wheel for every Python: the kernels are plain C, and bound by ctypes."""

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, system = super().get_tag()
        return (python, abi, system) if self.root_is_pure else ("py3", "none", system)


class WithKernels(Distribution):
    """Goes where libraries go, if there are any."""

    def has_ext_modules(self) -> bool:
        return compiler() is not None


options: dict[str, Any] = {"cmdclass": {"build_py": Compile, "bdist_wheel": Wheel}, "distclass": WithKernels}
setup(**options)
