"""`hadamax diagnose` of a run, a checkpoint and a user's network, and its errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.runs.runs import CARTPOLE, contents, hadamax, make

from hadamax.cli import diagnose
from hadamax.runs import diagnostics

pytestmark = pytest.mark.end_to_end

OWN = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 3))
    with torch.no_grad():
        network[0].bias[:20] += 8
    return network

def number():
    return 3

def broken():
    raise RuntimeError("no weights today")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 1,280 frames, measured twice."""
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "OBSERVATIONS", 64)
        settings = {**CARTPOLE, "activation": "tanh", "branches": 2, "frames": 1280, "checkpoint_every": 640}
        loop = make(run, settings, diagnostics_every=640)
        assert loop.train()
        loop.close()
    return run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def pictures(folder: Path) -> set[str]:
    found = set()
    for path in folder.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG"), path
        found.add(path.name)
    return found


def test_diagnose_a_run(trained: Path, here: Path) -> None:
    run = Path(shutil.copytree(trained, here / "run"))
    before = contents(run)
    result = hadamax("diagnose", run, "--count", 200)
    assert result.code == 0, result
    lines = result.out.splitlines()
    assert (
        lines[0]
        == "CartPole-v1, mlp (activation tanh, branches 2, features 16), agent of frame 1,280; 200 observations"
    )
    rows = [line.split()[0] for line in lines[2:8]]
    assert rows == ["encoder.dense.0", "branch", "branch", "encoder.dense.1", "branch", "branch"]
    assert "average output: " in result.out
    assert " are few for " not in result.out
    densities = {f"density-encoder.dense.{i}{part}.png" for i in (0, 1) for part in ("", "-branch-1", "-branch-2")}
    expected = densities | {"spectra.png", "rank.png", "dead-kde.png", "dead-saturated.png"}
    assert pictures(run / "diagnosis") == expected
    assert {name: data for name, data in contents(run).items() if not name.startswith("diagnosis/")} == before


def test_diagnose_a_checkpoint(trained: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "draw_densities", lambda *_: b"")  # takes a second for each of three pictures
    few = ("--count", 100, "--layers", "encoder.dense.0")
    result = hadamax("diagnose", trained / "checkpoints" / "frame_000000000640", *few, "--out", here / "out")
    assert result.out.startswith(
        "CartPole-v1, mlp (activation tanh, branches 2, features 16), agent of frame 640; 100 observations"
    )
    assert "100 observations are few for the 128 units of encoder.dense.0: " in result.out
    by_name = hadamax("diagnose", trained, "--checkpoint", 640, *few, "--out", here / "out")
    assert by_name.out == result.out
    last = hadamax("diagnose", trained, *few, "--out", here / "other")
    assert last.out != result.out


def test_diagnose_a_user_network(here: Path) -> None:
    (here / "own_a.py").write_text(OWN)
    observations = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    np.save("observations.npy", observations.numpy())
    save_file({"observations": observations, "actions": torch.zeros(300)}, "observations.safetensors")
    result = hadamax("diagnose", "--module", "own_a:make", "--observations", "observations.npy")
    assert result.code == 0, result
    assert (
        "  - 1: 31% of its 64 units are dead (almost constant); the warning threshold is 15%" in result.out.splitlines()
    )
    assert pictures(here / "diagnosis") == {"spectra.png", "density-1.png"}
    other = hadamax("diagnose", "--module", "own_a:make", "--observations", "observations.safetensors")
    assert other.out == result.out
    chosen = hadamax(
        "diagnose", "--module", "own_a:make", "--observations", "observations.npy", "--layers", "0", "2", "--out", "x"
    )
    assert pictures(here / "x") == {"spectra.png", "density-0.png", "density-2.png"}
    assert chosen.code == 0


def test_integer_observations_are_converted_for_the_network(here: Path) -> None:
    (here / "own_d.py").write_text(OWN + "\ndef table():\n    return nn.Sequential(nn.Embedding(9, 4), nn.Tanh())\n")
    whole = np.random.default_rng(0).integers(0, 9, (300, 6))
    for name, array in {"bytes": whole.astype("u1"), "floats": whole.astype(">f4")}.items():
        np.save(f"{name}.npy", array)
    of_bytes, of_floats, of_table = (
        hadamax("diagnose", "--module", f"own_d:{factory}", "--observations", f"{file}.npy")
        for factory, file in (("make", "bytes"), ("make", "floats"), ("table", "bytes"))
    )
    assert of_bytes.out == of_floats.out
    said = "observations: own_d:make does not accept torch.uint8; converted to torch.float32"
    assert said in of_bytes.err
    assert "observations" not in of_floats.err
    assert (of_table.code, "does not take" in of_table.err) == (2, False)  # an embedding takes int32 or int64


def test_invalid_measurement_is_reported_with_its_line(trained: Path, here: Path) -> None:
    run = Path(shutil.copytree(trained, here / "run"))
    table = run / "diagnostics.csv"
    lines = table.read_text().splitlines()
    for column, value in ((0, "x"), (lines[0].split(",").index("effective_rank"), "zz")):
        cells = lines[2].split(",")
        cells[column] = value
        table.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
        refusal = hadamax("diagnose", run, "--count", 100).refusal
        assert refusal.startswith(f"run: {table}, line 3: {lines[0].split(',')[column]} is no number: '{value}'")


def test_output_folder_is_checked_before_playing(trained: Path, here: Path) -> None:
    Path("file").touch()
    result = hadamax("diagnose", trained, "--out", "file/pictures")
    assert result.refusal.startswith("out: file/pictures cannot be written: ")
    assert "playing" not in result.err


REFUSED = [
    ("", ["run", "--module"]),
    ("RUN --module own_b:make", ["run", "expected either"]),
    ("nowhere", ["run", "nowhere", "config.toml"]),
    ("RUN --checkpoint 7", ["checkpoint", "'7'", "latest, best, 640, 1280"]),
    ("RUN --count 1", ["count", "1", "2 or more"]),
    ("RUN --epsilon 2", ["epsilon", "2.0", "0 to 1"]),
    ("RUN --seed -1", ["seed", "-1"]),
    ("RUN --layers encoder.conv", ["layers", "'encoder.conv'", "encoder.dense.0 (HadamardLinear)", "head (ValueHead)"]),
    ("RUN --observations one.npy", ["has 1 samples; expected 2 or more"]),
    ("RUN --observations nan.npy", ["layer encoder.dense.0", "not finite"]),
    ("RUN --observations none.npy", ["observations", "none.npy", "No such file"]),
    ("RUN --observations pickled.npy", ["observations", "pickled.npy", "allow_pickle"]),
    ("RUN --observations archive.npy", ["observations", "archive.npy", "archive", "one array"]),
    (f"RUN --out {'a' * 300}", ["out", "cannot be written", "too long"]),
    ("RUN --out link/x", ["out", "link/x", "cannot be written"]),
    ("RUN --observations text.safetensors", ["observations", "text.safetensors"]),
    ("RUN --observations two.safetensors", ["observations", "holds 2 tensors"]),
    ("RUN --observations a.csv", ["observations", "'a.csv'", ".npy, .safetensors"]),
    ("RUN --observations flat.npy", ["observations", "[6]", "[observations, ...]"]),
    ("RUN --observations wide.npy", ["observations must be [B, 4], not [5, 6]"]),
    ("--module own_b:make", ["observations", "--observations"]),
    ("--module own_b --observations wide.npy", ["module", "'own_b'", "package.module:factory"]),
    ("--module own_c:make --observations wide.npy", ["module", "own_c:make", "ModuleNotFoundError"]),
    ("--module own_b:other --observations wide.npy", ["module", "own_b:other", "AttributeError"]),
    ("--module own_b:number --observations wide.npy", ["module", "own_b:number", "int", "nn.Module"]),
    ("--module own_b:broken --observations wide.npy", ["module", "own_b:broken", "no weights today"]),
    ("--module own_b:make --observations four.npy", ["observations", "[5, 4]", "own_b:make"]),
]


@pytest.mark.parametrize(("asked", "words"), REFUSED, ids=[asked for asked, _ in REFUSED])
def test_invalid_arguments_are_one_line_errors(trained: Path, here: Path, asked: str, words: list[str]) -> None:
    (here / "own_b.py").write_text(OWN)
    for name, array in {
        "one": np.ones((1, 4), "f"),
        "nan": np.full((5, 4), np.nan, "f"),
        "flat": np.ones(6, "f"),
        "wide": np.ones((5, 6), "f"),
        "four": np.ones((5, 4), "f"),
        "pickled": np.array([{}, None], object),
    }.items():
        np.save(f"{name}.npy", array)
    Path("text.safetensors").write_text("not that")
    Path("a.csv").write_text("1,2\n")
    Path("link").symlink_to("nowhere")
    with open("archive.npy", "wb") as file:
        np.savez(file, x=np.ones(3))
    save_file({"a": torch.ones(3, 4), "b": torch.ones(3, 4)}, "two.safetensors")
    refusal = hadamax("diagnose", *asked.replace("RUN", str(trained)).split()).refusal
    for word in words:
        assert word in refusal
