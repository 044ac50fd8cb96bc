"""Checkpoints are written completely or not at all, the right ones are kept, and they cannot carry code."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from tests.runs.runs import CARTPOLE, checkpoint, contents, frames, make

from hadamax.runs import checkpoints
from hadamax.runs.checkpoints import MANIFEST, STATE, WEIGHTS, BadCheckpoint, capture, read, tidy, write

ABOUT = {"score": None, "note": "é"}


def state() -> dict[str, Any]:
    return {
        "network": {
            "w": torch.arange(6.0).view(2, 3),
            "image": torch.arange(32.0).view(1, 2, 4, 4).to(memory_format=torch.channels_last),
        },
        "optimizer": {0: {"step": torch.tensor(3.0), "mean": torch.ones(2, dtype=torch.bfloat16)}},
        "games": {"actions": np.arange(6, dtype=np.uint8).reshape(2, 3), "over": np.array([True, False])},
        "iterations": 7,
    }


def save(folder: Path, frame: int, score: Any = None) -> Path:
    return write(folder, capture(frame, state(), {"score": score}))


def test_checkpoint_round_trips(tmp_path: Path) -> None:
    found = read(write(tmp_path / "new" / "folder", capture(512, state(), ABOUT)))
    assert (found.frame, found.about) == (512, ABOUT)
    for name, tensor in state()["network"].items():
        assert torch.equal(found.weights[name], tensor)
    assert found.state["iterations"] == 7
    moments = found.state["optimizer"]["0"]
    assert moments["step"].shape == ()
    assert moments["mean"].dtype == torch.bfloat16
    assert found.state["games"]["actions"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.state["games"]["over"].dtype == torch.bool


def test_empty_and_missing_values_round_trip(tmp_path: Path) -> None:
    given = {
        "network": {"w": torch.ones(1)},
        "optimizer": {},
        "nested": {"empty": {}, "none": None, "array": np.zeros((0, 3), np.uint8), "tensor": torch.zeros(2, 0)},
        "zero": 0,
        "flag": False,
    }
    found = read(write(tmp_path, capture(1, given, {}))).state
    assert found.keys() == given.keys() - {"network"}
    assert (found["optimizer"], found["zero"], found["flag"]) == ({}, 0, False)
    nested = found["nested"]
    assert (nested["empty"], nested["none"]) == ({}, None)
    assert nested["array"].shape == (0, 3)
    assert nested["tensor"].shape == (2, 0)


def test_capture_copies_tensors() -> None:
    living = state()
    captured = capture(1, living, ABOUT)
    living["network"]["w"].zero_()
    living["games"]["actions"][:] = 0
    living["optimizer"][0]["step"].zero_()
    assert captured.weights["w"].sum() == 15
    assert captured.state["games"]["actions"].sum() == 15
    assert captured.state["optimizer"][0]["step"] == 3


def test_the_files_are_safetensors_and_json(tmp_path: Path) -> None:
    with closing(make(tmp_path / "run", CARTPOLE, frames=64)) as loop:
        assert loop.train()
    files = contents(checkpoint(tmp_path / "run", 64))
    assert sorted(files) == sorted([WEIGHTS, STATE, MANIFEST])
    json.loads(files[MANIFEST])
    for name in (WEIGHTS, STATE):
        assert load(files[name])
        with pytest.raises(Exception, match=r"invalid|could not|unpickl|unsupported|pickle|memo"):
            pickle.load(io.BytesIO(files[name]))


def test_greedy_scores_beat_exploring_scores(tmp_path: Path) -> None:
    for frame, score, source in ((100, 50.0, "training"), (200, 3.0, "test"), (300, 9.0, "test"), (400, 70.0, None)):
        write(tmp_path, capture(frame, state(), {"score": score, "score_source": source}))
    assert checkpoints.best(checkpoints.newest_first(tmp_path)) == tmp_path / "frame_000000000300"


def test_last_best_and_named_checkpoints_are_kept(tmp_path: Path) -> None:
    scores = {100: 1.0, 200: 9.0, 300: 2.0, 400: None, 500: 9.0, 600: float("nan"), 700: 1.0, 800: 0.0}
    for frame, score in scores.items():
        save(tmp_path, frame, score)
        tidy(tmp_path, frame, 2, (250, 10**6))
    assert [checkpoints.frame_of(p) for p in checkpoints.newest_first(tmp_path)] == [800, 700, 500, 300]


def test_checkpoints_of_a_run(tmp_path: Path) -> None:
    """Every 128 frames: the last two, the best, and those at or just after 200 and 330."""
    kept: dict[str, Any] = {"keep_checkpoints": 2, "keep_checkpoints_at": (200, 330), "checkpoint_every": 128}
    with closing(make(tmp_path / "run", CARTPOLE, frames=1024, **kept)) as loop:
        assert loop.train()
        best = checkpoints.best(checkpoints.newest_first(loop.folder.checkpoints))
    assert best is not None
    # A checkpoint is made just after each named frame, and the distance to the next counts from there.
    wanted = {256, 384, 896, 1024} | {checkpoints.frame_of(best)}
    assert set(frames(tmp_path / "run")) == wanted


def test_damaged_checkpoints_do_not_displace_good_ones(tmp_path: Path) -> None:
    """A resumed run writes its next checkpoint before the damaged one's frame."""
    for frame in (100, 300, 400):
        save(tmp_path, frame, score=frame)
    save(tmp_path, 200, score=1)
    tidy(tmp_path, 200, 1, ())
    assert {checkpoints.frame_of(p) for p in checkpoints.newest_first(tmp_path)} == {100, 200, 300, 400}


def test_folders_with_other_names_are_ignored(tmp_path: Path) -> None:
    save(tmp_path, 100)
    for name in ("frame_000000000200.old", "frame_2", ".writing-frame_000000000300", "frame_x", "notes"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoints.newest_first(tmp_path)] == ["frame_000000000100"]
    save(tmp_path, 200)  # leftovers of a kill are deleted, user files are not
    assert not (tmp_path / ".writing-frame_000000000300").exists()
    assert (tmp_path / "notes").exists()


def test_checkpoint_can_be_overwritten(tmp_path: Path) -> None:
    first = save(tmp_path, 100, score=1)
    (first / WEIGHTS).write_bytes(b"damaged")
    assert read(save(tmp_path, 100, score=2)).about == {"score": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["frame_000000000100"]


@pytest.mark.parametrize("broken", ["mkdir", "write_flushed", "flush_folder", "rename"])
def test_failed_write_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    save(tmp_path, 100)
    before = contents(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    owner: Any = Path if broken in ("mkdir", "rename") else checkpoints
    monkeypatch.setattr(owner, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 200)
    monkeypatch.undo()
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["frame_000000000100"]


def test_any_changed_byte_is_detected(tmp_path: Path) -> None:
    """One flipped bit anywhere, or any truncation."""
    good = save(tmp_path / "good", 100, score=3)
    generator = np.random.default_rng(0)
    for name, data in contents(good).items():
        places = generator.choice(len(data), min(60, len(data)), replace=False)
        for place in places:
            flipped = bytearray(data)
            flipped[place] ^= 1 << int(generator.integers(8))
            for bad in (bytes(flipped), data[:place]):
                (good / name).write_bytes(bad)
                if name == MANIFEST and _parsed(bad) == _parsed(data):
                    continue  # white space
                with pytest.raises(BadCheckpoint) as caught:
                    read(good)
                assert len(str(caught.value).splitlines()) == 1
        (good / name).write_bytes(data)
    read(good)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    for name in (WEIGHTS, STATE, MANIFEST):
        path = save(tmp_path / name, 100)
        (path / name).unlink()
        with pytest.raises(BadCheckpoint, match="No such file"):
            read(path)
        shutil.rmtree(path)
        path.write_bytes(b"a file, not a folder")
        with pytest.raises(BadCheckpoint, match="Not a directory"):
            read(path)


def test_checkpoints_without_a_manifest_hash_are_read(tmp_path: Path) -> None:
    """The first version of the format has none."""
    path = save(tmp_path, 100)
    manifest = json.loads((path / MANIFEST).read_bytes())
    del manifest["sha256"][MANIFEST]
    (path / MANIFEST).write_text(json.dumps(manifest))
    assert read(path).frame == 100
