"""The wheel and the source distribution, built without a network: what is in them, and that it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from hadamax.kernels import shipped

ROOT = Path(__file__).parents[1]
SOURCES = ("src", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
ENCODER = "minatar"  # the smallest set of kernels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="not run from a clone"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the sources, so that the build leaves nothing in the clone."""
    pytest.importorskip("setuptools", minversion="77", reason="needs the extra: pip install 'hadamax-rl[dev]'")
    folder = tmp_path_factory.mktemp("clone")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(clone: Path, what: str, kernels: str) -> Path:
    """Build the wheel in this environment, without downloads."""
    out = clone / f"dist-{what}-{kernels}"
    code = f"import setuptools.build_meta as b, sys; print(b.build_{what}(sys.argv[1]))"
    environment = {**os.environ, "HADAMAX_BUILD_KERNELS": kernels}
    command = [sys.executable, "-W", "ignore", "-c", code, str(out)]
    out.mkdir()
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = out.iterdir()
    return file


def shipped_files() -> set[str]:
    """Return the package's source files."""
    package = ROOT / "src" / "hadamax"
    files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"hadamax/{path.relative_to(package)}" for path in files}


def test_the_source_distribution_has_all_that_a_build_needs(clone: Path) -> None:
    with tarfile.open(build(clone, "sdist", "0")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", *(f"src/{name}" for name in shipped_files())} <= names
    assert not any(name.endswith(".so") for name in names)


def test_the_pure_wheel_has_every_file(clone: Path) -> None:
    """What is built where there is no compiler."""
    wheel = build(clone, "wheel", "0")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == shipped_files()
    assert "hadamax/py.typed" in names


@pytest.mark.skipif(not shipped.kinds(), reason="nothing is shipped for this processor")
def test_the_wheel_brings_kernels_that_run_without_a_compiler(clone: Path, kernel_here: None, tmp_path: Path) -> None:
    wheel = build(clone, "wheel", ENCODER)
    assert wheel.name.split("-")[2:4] == ["py3", "none"]
    assert not wheel.name.endswith("any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        names = [name for name in archive.namelist() if name.endswith(".so")]
    kinds = {name.split("/")[3] for name in names}
    assert kinds == {kind.name for kind in shipped.KINDS if kind.machine == shipped.platform.machine()}
    code = (
        "import hadamax, torch; from hadamax.kernels import cpu; "
        "encoder = hadamax.build_encoder('minatar', (4, 10, 10), 1.0); "
        "print(hadamax.__file__, *encoder.blocks[0].served_by(10, 10, torch.float32), sep='|'); "
        "print(cpu.compiler())"
    )
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    served, compiler = done.stdout.splitlines()
    assert served == f"{tmp_path / 'site/hadamax/__init__.py'}|cpu|"
    assert compiler.endswith(f"shipped for {shipped.kinds()[0].name}; the rest: none")
    assert list(tmp_path.iterdir()) == [tmp_path / "site"]  # no cache was made


@pytest.fixture
def kernel_here() -> None:
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler")
