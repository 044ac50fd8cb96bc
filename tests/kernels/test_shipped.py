"""Kernels shipped in a wheel: those of the encoders, the best that the processor runs, or none."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hadamax.kernels import build, cpu, shipped
from hadamax.networks import build_encoder

pytestmark = pytest.mark.end_to_end

SHAPES = {"minatar": (4, 10, 10), "hadamax-minatar": (4, 10, 10)}
SHAPES |= dict.fromkeys(("hadamax-minatar-no-pool", "hadamax-minatar-average-pool"), (4, 10, 10))
VARIED: dict[str, tuple[str, dict[str, Any]]] = {
    "nature-norm-tanh-2": ("nature-norm", {"activation": "tanh", "branches": 2})
}
LIBRARY = ("radam.cpp",)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide an installation without shipped libraries and a process without loaded ones."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "compiled")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cpu.reset()
    yield tmp_path / "compiled"
    cpu.reset()


def compile_into(folder: Path, kind: shipped.Kind) -> Path:
    """Compile one library as `setup.py` does."""
    path = folder / kind.name / shipped.file_name(LIBRARY)
    path.parent.mkdir(parents=True)
    command = [*build.find_compiler()[0], *build.FLAGS, *kind.flags, str(shipped.SOURCES / LIBRARY[0]), "-o", str(path)]
    subprocess.run(command, check=True)
    (folder / shipped.COMPILER).write_text("a compiler\n")
    return path


@pytest.mark.parametrize("name", shipped.BLOCKS)
def test_every_block_of_an_encoder_is_shipped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[shipped.Library] = set()
    monkeypatch.setattr(cpu, "load", lambda source, macros: asked.add((source, *macros)))  # and returns none
    encoder, varied = VARIED.get(name, (name, {}))
    shape = SHAPES.get(name, (4, 84, 84))
    network = build_encoder(encoder, shape, **varied)
    for bfloat16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            network(torch.zeros(1, *shape, dtype=torch.uint8))
    assert len(asked) >= 4
    assert asked <= set(shipped.libraries())


def test_other_channel_counts_use_the_generic_library() -> None:
    """The macros equal those of `cpu.macros`, so that a change there reaches the wheel."""
    from hadamax.kernels.block_config import BlockConfig

    variant = BlockConfig(2, ("gelu_tanh", "gelu_tanh"), "product", "channels", 1e-6, (4, 4, 0, 0))
    assert ("block.cpp", *cpu.macros(torch.float32, variant, 7)) in shipped.libraries(("hadamax",))
    assert len(set(shipped.libraries())) == len(shipped.libraries())


@pytest.mark.parametrize(
    ("features", "best"),
    [
        (shipped._V4 | {"avx512_bf16", "amx_bf16"}, "x86-64-v4-bf16"),
        (shipped._V4, "x86-64-v4"),
        (shipped._V4 - {"avx512bw"}, "x86-64-v3"),
        (shipped._V3, "x86-64-v3"),
        (shipped._V3 - {"fma"}, None),
        (frozenset(), None),
    ],
)
def test_processor_gets_the_best_supported_kind(
    features: frozenset[str], best: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "features", lambda: features)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert next((kind.name for kind in shipped.kinds()), None) == best
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert shipped.kinds() == []


def test_shipped_library_is_used_without_compiling(folder: Path, kernel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (*_, last) = shipped.kinds() or [None]
    if last is None:
        pytest.skip("nothing is shipped for this processor")
    assert shipped.compiler() is None
    assert cpu.compiler() == build.compiler_name()
    compile_into(folder, last)
    monkeypatch.setattr(build, "_try_compiling", pytest.fail)
    assert cpu.load(*LIBRARY, ()) is not None
    assert cpu.compiler() == f"a compiler, shipped for {last.name}; the rest: {build.compiler_name()}"
    monkeypatch.setenv("HADAMAX_KERNELS", "reference")
    assert cpu.compiler() == "not used"
    monkeypatch.setenv("HADAMAX_KERNELS", "native")
    assert cpu.compiler() == build.compiler_name()
    assert shipped.paths(("radam.cpp", "ANOTHER=1")) == []


def test_unloadable_shipped_library_is_compiled_instead(folder: Path, kernel: None) -> None:
    if not shipped.kinds():
        pytest.skip("nothing is shipped for this processor")
    path = folder / shipped.kinds()[0].name / shipped.file_name(LIBRARY)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a library")
    assert cpu.load(*LIBRARY, ()) is not None
    assert len(list(build.cache_folder().glob("*.so"))) == 1
