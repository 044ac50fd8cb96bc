"""`hadamax doctor`: findings, a command for each missing part, and exit code 1 if something is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.runs.runs import hadamax

from hadamax.benchmark import doctor
from hadamax.kernels import cpu

pytestmark = pytest.mark.kernels


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide an empty cache and a process without loaded kernels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cpu.reset()
    yield tmp_path
    cpu.reset()


def test_lists_versions_and_kernels(kernel_served: bool) -> None:
    result = hadamax("doctor")
    assert result.code == 0, result
    cores = len(os.sched_getaffinity(0))
    for part in (
        torch.__version__,
        f"{cores} cores",
        "GiB",
        "bfloat16",
        "AMX",
        "ROMs",
        "cache",
        "[minatar]",
        "compiler",
    ):
        assert part in result.out
    assert ("results match PyTorch" in result.out) == kernel_served


@pytest.fixture
def kernel_served() -> bool:
    return cpu.library(torch.float32, doctor.HADAMAX_BLOCK, 32) is not None


def test_missing_compiler_comes_with_an_install_command(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fresh))
    monkeypatch.delenv("CXX", raising=False)
    (fresh / "apt-get").write_text("#!/bin/sh\n")
    (fresh / "apt-get").chmod(0o755)
    if cpu.shipped.compiler():
        pytest.skip("this installation brings its kernels")
    result = hadamax("doctor")
    assert result.code == 0
    assert "CPU kernel: none, plain PyTorch is used instead: no C++ compiler found" in result.out
    assert "apt-get install g++" in result.out


def test_unwritable_cache_is_reported(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    result = hadamax("doctor")
    assert result.code == 0
    assert "cannot be written (Not a directory); export XDG_CACHE_HOME=" in result.out


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("ALE_ROMS_DIR", "/", "0 of 108 ROMs in /; unset ALE_ROMS_DIR"),
        ("HADAMAX_KERNELS", "fast", "HADAMAX_KERNELS: 'fast' is unknown; expected one of auto, native"),
    ],
)
def test_broken_kernel_exits_with_1(variable: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    result = hadamax("doctor")
    assert result.code == 1
    assert "broken:\n" in result.out
    assert line in result.out


def test_broken_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    broken = [finding for finding in doctor.versions() if finding.broken]
    assert [finding.name for finding in broken] == ["safetensors"]
    assert broken[0].mend == "pip install --force-reinstall safetensors"


def test_quota_below_one_core_suggests_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_granted_cores", lambda: 0.5)
    (finding,) = (f for f in doctor.processor() if f.name == "processor")
    assert finding.mend.endswith("--threads 1")


def test_version_and_help_work_in_a_bare_environment(tmp_path: Path) -> None:
    """The home folder is not writable and no terminal variables are set."""
    from importlib.metadata import version

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "hadamax", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert run("--version") == f"hadamax {version('hadamax-rl')}\n"
    assert "hadamax doctor" in run("--help")
    assert json.dumps(sorted(os.listdir(tmp_path))) == "[]"
