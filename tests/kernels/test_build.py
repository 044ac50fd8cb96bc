"""The compiler and the library cache: a failure costs speed and logs one line; results stay correct."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hadamax.benchmark import doctor
from hadamax.kernels import build, cpu, hadamax_block, implementation, shipped
from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.conv_geometry import ConvGeometry
from hadamax.kernels.map_convolution import map_convolution_obstacle
from hadamax.kernels.reference import reference_block

pytestmark = pytest.mark.end_to_end

VARIANT = BlockConfig(1, ("identity",), "product", None, 0.0, (2, 2, 0, 0))
SERVED = {name: value for name, value in VARIANT._asdict().items() if name != "eps"}  # arguments of `implementation`
MACROS = cpu.macros(torch.float32, VARIANT, 0)
SMALL = (("HADAMAX_ELEMENT=float",), "observations.cpp")  # compiles in a fifth of the time of a block
FLAGS = tuple(flag.replace("-O3", "-O0") for flag in build.FLAGS)
# In another process, without importing PyTorch.
BUILD_ELSEWHERE = (
    sys.executable,
    "-c",
    f"import runpy; build = runpy.run_path({build.__file__!r})['build']; "
    f"build.__globals__['FLAGS'] = {FLAGS!r}; build({MACROS!r})",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, no loaded library, and a compiler that does not optimise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", FLAGS)
    cpu.reset()
    yield tmp_path / "hadamax" / "kernels"
    cpu.reset()


def lines_logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log lines of two kinds of blocks after checking their results."""
    x = torch.randn(2, 6, 4, 4, requires_grad=True)
    for variant in (VARIANT, VARIANT._replace(activations=("tanh",)), VARIANT):
        with caplog.at_level(logging.WARNING):
            y = hadamax_block(x, None, None, **variant._asdict())
        y.sum().backward()
        torch.testing.assert_close(y, reference_block(x, None, None, variant))
    return [record.getMessage() for record in caplog.records]


def test_no_compiler_logs_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    (line,) = lines_logged(caplog)
    assert line.startswith("No fused Hadamax kernel: no C++ compiler found (c++, g++, clang++). ")
    assert cpu.failure() is not None
    assert implementation(**SERVED) == ("reference", cpu.failure())


def test_failing_compiler_logs_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\n[ $1 = --version ] && exit 0\necho 'block.cpp: error: out of order' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    (line,) = lines_logged(caplog)
    assert "broken-c++ failed (block.cpp: error: out of order)" in line


def test_source_that_does_not_compile_disables_only_its_kernels(
    cache: Path, tmp_path: Path, kernel: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    particular = tmp_path / "particular-c++"
    refuses = "case $* in *convolution.cpp*) echo 'convolution.cpp: error: not this one' >&2; exit 1;; esac"
    particular.write_text(f'#!/bin/sh\n{refuses}\nexec c++ "$@"\n')
    particular.chmod(0o755)
    monkeypatch.setenv("CXX", str(particular))
    monkeypatch.setenv("HADAMAX_KERNELS", "native")
    place = ConvGeometry((1, 1), ((1, 2), (1, 2)))
    reason = map_convolution_obstacle(torch.Size((21, 21)), torch.randn(64, 32, 4, 4), place)
    assert reason == cpu.failure("convolution.cpp") is not None
    (line,) = lines_logged(caplog)
    assert line.startswith(
        f"No fused Hadamax kernel from convolution.cpp: {particular} failed (convolution.cpp: error:"
    )
    assert cpu.failure("block.cpp") is None
    assert implementation(**SERVED).name == "cpu"


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("sleep 60", "did not finish within 0.2 s"),
        ("exec /nowhere/at/all", "failed ("),
        ("printf 'error: \\033[2J\\377\\n' >&2; exit 1", "failed (error: ?[2J"),
    ],
)
def test_odd_compiler_logs_one_printable_line(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    does: str,
    said: str,
) -> None:
    """A compiler that hangs is not started a second time."""
    compiler, calls = tmp_path / "odd-c++", tmp_path / "calls"
    compiler.write_text(f"#!/bin/sh\n[ $1 = --version ] && exit 0\necho >>{calls}\n{does}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(build, "SECONDS", 0.2)
    (line,) = lines_logged(caplog)
    assert f"{compiler} {said}" in line
    assert line.isprintable()
    assert len(line) < 500
    if does.startswith("sleep"):
        assert calls.read_text() == "\n"


def test_unwritable_cache_logs_one_line(
    cache: Path, tmp_path: Path, kernel: None, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hadamax").write_text("a file where the folder should be")
    (line,) = lines_logged(caplog)
    assert f"the cache {cache} is unusable" in line


def test_unreadable_cache_logs_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cache: Path, kernel: None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", f"/{300 * 'x'}")
    (line,) = lines_logged(caplog)
    assert "xxx/hadamax/kernels is unusable (File name too long); set XDG_CACHE_HOME" in line
    (found,) = [finding for finding in doctor.compiler() if finding.name == "cache"]
    assert "is unusable" in found.text


@pytest.mark.parametrize("who", ["another user", "a group"])
def test_cache_writable_by_others_is_not_loaded(
    cache: Path, kernel: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    build.build(MACROS)
    if who == "a group":
        cache.chmod(0o770)
    else:
        monkeypatch.setattr(os, "getuid", lambda: cache.stat().st_uid + 1)
        monkeypatch.setattr(build, "ROOT", -1)
    (line,) = lines_logged(caplog)
    said = f"the cache {cache} belongs to another user or is writable by others; set XDG_CACHE_HOME"
    assert said in line
    (found,) = [finding for finding in doctor.compiler() if finding.name == "cache"]
    assert (found.text, bool(found.mend)) == (said, True)


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ("-fopenmp", "for one core only (no OpenMP) and therefore slower"),
        pytest.param(
            "-fopenmp -march=native -mcpu=native",
            "(no OpenMP) and a generic processor instead of this one and",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_missing_compiler_flags_are_reported(
    cache: Path,
    tmp_path: Path,
    kernel: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refused: str,
    said: str,
) -> None:
    """In the process that compiles and in later ones, which load from the cache."""
    poor = tmp_path / "poor-c++"
    cases = " | ".join(refused.split())
    poor.write_text(f'#!/bin/sh\nfor one in "$@"; do case $one in {cases}) exit 1;; esac; done\nexec c++ "$@"\n')
    poor.chmod(0o755)
    monkeypatch.setenv("CXX", f"env A=1 {poor}")
    for _ in range(2):
        cpu.reset()
        build._warn.cache_clear()
        caplog.clear()
        (line,) = lines_logged(caplog)
        assert said in line
        assert str(cache) in line
    assert implementation(**SERVED).name == "cpu"
    (found,) = [finding for finding in doctor.kernel() if finding.mend]
    assert "one core only" in found.text


@pytest.mark.parametrize(("chosen", "named"), [("/nowhere/g++ -m64", "/nowhere/g++"), ("'g++", "'g++")])
def test_unknown_cxx_is_reported(
    cache: Path,
    kernel: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    chosen: str,
    named: str,
) -> None:
    monkeypatch.setenv("CXX", chosen)
    assert lines_logged(caplog) == [f"CXX: {named} does not exist; trying other C++ compilers."]


def test_library_is_compiled_once(cache: Path, kernel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    build.build(*SMALL)
    files = sorted(cache.iterdir())
    monkeypatch.setattr(build, "_try_compiling", pytest.fail)
    build.build(*SMALL)
    assert sorted(cache.iterdir()) == files
    assert len(files) == 2


def test_changed_source_is_compiled_again(
    cache: Path, tmp_path: Path, kernel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(*SMALL)
    changed = tmp_path / "csrc"
    changed.mkdir()
    for path in build.SOURCES.iterdir():
        (changed / path.name).write_text(path.read_text() + "\n// changed\n")
    monkeypatch.setattr(build, "SOURCES", changed)
    build.build(*SMALL)
    assert len([path for path in cache.iterdir() if path.suffix != ".so"]) == 2


@pytest.mark.parametrize("damage", ["library", "index"])
def test_damaged_cache_is_rebuilt(cache: Path, kernel: None, damage: str) -> None:
    """Another process compiles first: damaging a loaded library would end this one."""
    subprocess.run(BUILD_ELSEWHERE, check=True)
    (library,) = cache.glob("*.so")
    (index,) = (path for path in cache.iterdir() if path != library)
    if damage == "library":
        library.write_bytes(library.read_bytes()[:1000])
    else:
        index.write_bytes(b"\xff not a name")
    x = torch.randn(1, 3, 4, 4)
    y = hadamax_block(x, None, None, **VARIANT._asdict())
    assert cpu.failure() is None
    assert torch.equal(y, reference_block(x, None, None, VARIANT))
    assert len(library.read_bytes()) > 1000


def test_changed_compiler_options_are_compiled_again(
    cache: Path, kernel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(*SMALL)
    command = build.find_compiler()[0]
    monkeypatch.setenv("CXX", " ".join([*command, "-DOTHER"]))
    assert not build.is_cached(*SMALL)
    monkeypatch.setenv("CXX", " ".join(command))
    assert build.is_cached(*SMALL)


@pytest.mark.skipif(shutil.which("clang++") is None, reason="clang++ is not installed")
def test_clang_compiles_every_source() -> None:
    flags = [*build.FLAGS, "-march=native", "-fsyntax-only"]
    threads = subprocess.run(["clang++", *flags, "-fopenmp", "-x", "c++", "-"], input=b"#include <omp.h>", check=False)
    for source, *macros in shipped.libraries(("hadamax",)):
        command = ["clang++", *flags, *(["-fopenmp"] if threads.returncode == 0 else [])]
        command += [*(f"-D{macro}" for macro in macros), str(build.SOURCES / source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_two_processes_compile_at_once(cache: Path, kernel: None) -> None:
    running = [subprocess.Popen(BUILD_ELSEWHERE) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert all(path.is_file() for path in cache.iterdir())


def test_process_keeps_denormal_numbers(kernel: None) -> None:
    """A library linked with -ffast-math would flush these to zero in the whole process."""
    cpu.library(torch.float32, VARIANT)
    assert (torch.tensor(1e-39) / 2).item() > 0
    assert 1e-310 / 2 > 0


def test_keep_memory_reuses_pages() -> None:
    """In another process, since it changes the allocator for good."""
    code = (
        "import os, resource, torch\n"
        "from hadamax.kernels import keep_memory\n"
        "kept = keep_memory()\n"
        "assert kept == (os.confstr('CS_GNU_LIBC_VERSION') or '').startswith('glibc')\n"
        "for step in range(30):\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    [torch.ones(size * 2**18) for size in (9, 5, 7, 6, 8)]\n"
        "faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "assert not kept or faults < 100, faults\n"  # of 9,000 without
    )
    subprocess.run([sys.executable, "-c", code], check=True)
