"""Damaged, hostile and newer checkpoints: a run resumes from the previous good one, or leaves its files unchanged."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from tests.runs.runs import (
    CARTPOLE,
    checkpoint,
    contents,
    frames,
    hadamax,
    kill_after,
    make,
    outcome,
    resumed,
    run_to_the_end,
    same,
)

from hadamax.runs import checkpoints
from hadamax.runs.checkpoints import MANIFEST, STATE, WEIGHTS

SETTINGS = {**CARTPOLE, "frames": 640, "checkpoint_every": 128}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed after frame 512, with checkpoints at frames 256, 384 and 512."""
    path = tmp_path_factory.mktemp("killed") / "run"
    with closing(make(path, SETTINGS)) as loop:
        kill_after(loop, 9)
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_to_the_end(tmp_path_factory.mktemp("undisturbed") / "run", SETTINGS)


@pytest.fixture
def run(tmp_path: Path, killed: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "run"))


def rewrite(path: Path, **files: bytes | Callable[[dict[str, Any]], Any]) -> None:
    """Change a checkpoint and update its hashes, as an attacker would."""
    manifest = json.loads((path / MANIFEST).read_bytes())
    for name, change in files.items():
        file = {"weights": WEIGHTS, "state": STATE}.get(name)
        if file is None:
            assert callable(change)
            change(manifest)
            continue
        data = change if isinstance(change, bytes) else save(_changed(change, load((path / file).read_bytes())))
        (path / file).write_bytes(data)
    hashes = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in (WEIGHTS, STATE)}
    del manifest["sha256"]
    sealed = json.dumps({**manifest, "sha256": hashes}, sort_keys=True)
    hashes[MANIFEST] = hashlib.sha256(sealed.encode()).hexdigest()
    (path / MANIFEST).write_text(json.dumps({**manifest, "sha256": hashes}))


def _changed(change: Callable[[dict[str, Any]], Any], tensors: dict[str, Any]) -> dict[str, Any]:
    change(tensors)
    return tensors


class Bomb:
    """Unpickling this creates a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def nan_weight(weights: dict[str, torch.Tensor]) -> None:
    weights["head.bias"][0] = float("nan")


def other_shape(weights: dict[str, torch.Tensor]) -> None:
    weights["head.bias"] = torch.zeros(7)


def other_names(weights: dict[str, torch.Tensor]) -> None:
    weights["../../head.bias"] = weights.pop("head.bias")


def other_games(state: dict[str, torch.Tensor]) -> None:
    state["environment/actions"] = state["environment/actions"][:, :2].contiguous()


def other_play(state: dict[str, torch.Tensor]) -> None:
    state["environment/actions"][-3:] ^= 1


def no_seeds(state: dict[str, torch.Tensor]) -> None:
    del state["environment/seed_count"]


def traversal(manifest: dict[str, Any]) -> None:
    manifest["numbers"] = {"../../../etc/passwd": 1, "/tmp/x": 2}


def about(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["about"].update(values)


def put(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update(values)


HOSTILE: dict[str, dict[str, Any]] = {
    "a pickle as weights": {"weights": pickle.dumps(Bomb())},
    "a pickle as state": {"state": pickle.dumps(Bomb())},
    "a zip file as weights": {"weights": b"PK\x03\x04" + b"\0" * 200},
    "a header longer than the file": {"weights": (2**62).to_bytes(8, "little") + b"{}"},
    "a weight of another shape": {"weights": other_shape},
    "a missing weight": {"weights": lambda weights: weights.pop("head.bias")},
    "a renamed weight": {"weights": other_names},
    "a NaN weight": {"weights": nan_weight},
    "actions of fewer environments": {"state": other_games},
    "changed actions": {"state": other_play},
    "no seed count": {"state": no_seeds},
    "no random generator": {"state": lambda state: state.pop("generator")},
    "a random generator of 3 bytes": {"state": lambda state: state.update(generator=torch.zeros(3, dtype=torch.uint8))},
    "names outside the folder": {"manifest": traversal},
    "another frame": {"manifest": put(frame=10**15)},
    "no frame": {"manifest": lambda manifest: manifest.pop("frame")},
    "10^30 iterations": {"manifest": put(numbers={"iterations": 10**30})},
    "numbers as a list": {"manifest": put(numbers=[1])},
    "a negative log position": {"manifest": about(metrics_bytes=-1)},
    "an infinite log position": {"manifest": about(episodes_bytes=float("inf"))},
    "NaN seconds": {"manifest": about(seconds=float("nan"))},
    "averages as a list": {"manifest": about(averages=[1, 2])},
    "no `about`": {"manifest": put(about=None)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_resume_skips_a_hostile_checkpoint(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rewrite(checkpoint(run, 512), **HOSTILE[name])
    lines: list[str] = []
    with resumed(run, lines.append) as loop:
        assert loop.algorithm.frames == 384
    (line,) = lines
    assert len(line.splitlines()) == 1
    assert line.startswith("checkpoint frame_000000000512 cannot be used (")
    assert line.endswith("); trying the one before")
    assert not (tmp_path / "exploded").exists()


# The reader rejects the first; the other two fail after a part of the run's state was loaded.
@pytest.mark.end_to_end
@pytest.mark.parametrize("name", ["a pickle as weights", "changed actions", "averages as a list"])
def test_resume_past_a_hostile_checkpoint_equals_uninterrupted_run(
    run: Path, undisturbed: dict[str, Any], name: str
) -> None:
    rewrite(checkpoint(run, 512), **HOSTILE[name])
    result = hadamax("resume", run)
    assert result.code == 0, result
    assert result.err.splitlines()[1] == "resuming at frame 384 of 640"
    same(undisturbed, outcome(run))


@pytest.mark.parametrize("name", ["a pickle as weights", "a weight of another shape", "a negative log position"])
def test_run_without_a_good_checkpoint_is_left_unchanged(run: Path, name: str) -> None:
    for frame in frames(run):
        rewrite(checkpoint(run, frame), **HOSTILE[name])
    before = contents(run)
    result = hadamax("resume", run)
    line = result.err.splitlines()[-1]
    assert result.code == 2
    assert line.startswith(f"hadamax: run: no checkpoint of {run} can be used (frame_000000000")
    assert len(result.err.splitlines()) == len(frames(run))  # one per checkpoint; the error itself names the last
    assert contents(run) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"sha256": 1}'])
@pytest.mark.parametrize("name", [WEIGHTS, STATE, MANIFEST])
def test_resume_skips_a_damaged_checkpoint(run: Path, name: str, content: bytes) -> None:
    (checkpoint(run, 512) / name).write_bytes(content)
    said: list[str] = []
    with resumed(run, said.append) as loop:
        assert loop.algorithm.frames == 384
    assert len(said) == 1
    assert len(said[0].splitlines()) == 1


@pytest.mark.parametrize("score", ["high", [1], {"a": 1}, float("nan"), 10**400, None])
def test_best_ignores_invalid_scores(run: Path, score: Any) -> None:
    for frame in frames(run):
        rewrite(checkpoint(run, frame), manifest=about(score=score))
    rewrite(checkpoint(run, 512), manifest=about(score=5.0))
    best = checkpoints.best(checkpoints.newest_first(run / "checkpoints"))
    assert best is not None
    assert best.name == "frame_000000000512"


def test_checkpoint_of_a_newer_format_is_an_error(run: Path) -> None:
    rewrite(checkpoint(run, 512), manifest=put(format=2))
    before = contents(run)
    for command in (("resume", run), ("evaluate", run, "--episodes", 1)):
        refusal = hadamax(*command).refusal
        assert "frame_000000000512 was written by a newer hadamax, format 2; this hadamax reads 1" in refusal
    assert contents(run) == before


def test_evaluation_names_the_skipped_checkpoint(run: Path) -> None:
    (checkpoint(run, 512) / WEIGHTS).write_bytes(b"")
    result = hadamax("evaluate", run, "--episodes", 2)
    assert result.code == 0, result
    assert result.err.splitlines() == [
        "checkpoint frame_000000000512 cannot be used (weights.safetensors is damaged); trying the one before"
    ]
    assert "agent of frame 384" in result.out


def test_evaluation_of_a_chosen_damaged_checkpoint_is_an_error(run: Path) -> None:
    (checkpoint(run, 512) / WEIGHTS).write_bytes(b"")
    refusal = hadamax("evaluate", run, "--checkpoint", 512).refusal
    line = f"checkpoint: '512' of {run} cannot be used (weights.safetensors is damaged)"
    assert refusal in (f"{line}; expected latest, best, 256, 384", f"{line}; expected latest, 256, 384")
    rewrite(checkpoint(run, 384), weights=other_shape)
    assert "another architecture" in hadamax("evaluate", run, "--checkpoint", 384).refusal


def test_error_lists_only_usable_checkpoints(run: Path) -> None:
    for frame in (256, 384, 512):
        rewrite(checkpoint(run, frame), manifest=about(score=None))
    refusal = hadamax("evaluate", run, "--checkpoint", "best").refusal
    none = "none has a score: no game had finished"
    assert refusal == f"checkpoint: 'best' of {run} cannot be used ({none}); expected latest, 256, 384, 512"
    rewrite(checkpoint(run, 384), manifest=about(score=5.0))
    refusal = hadamax("evaluate", run, "--checkpoint", "3").refusal
    assert refusal == f"checkpoint: '3' of {run} cannot be used; expected latest, best, 256, 384, 512"
    for frame in (256, 384, 512):
        (checkpoint(run, frame) / MANIFEST).write_text("{")
    for name in ("best", "512"):
        refusal = hadamax("evaluate", run, "--checkpoint", name).refusal
        assert refusal.endswith("; expected none, since all are damaged; train it again"), refusal
    assert "no game" not in refusal
