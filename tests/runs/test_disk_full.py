"""A full disk is a one-line error with exit code 2; the last good checkpoint survives and the run resumes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.runs.runs import CARTPOLE, flags, frames, hadamax, kill_after, make, outcome, run_to_the_end, same

from hadamax.cli import evaluate
from hadamax.runs import checkpoints, curve, folder, logs

pytestmark = pytest.mark.end_to_end

GAME = {**CARTPOLE, "frames": 512, "checkpoint_every": 128, "log_every": 64}


class Disk:
    """Fail with a full disk for paths that contain `full`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full: str | None = None
        for owner, name in (
            (checkpoints, "write_flushed"),
            (logs, "write_all"),
            (folder, "write_atomically"),
            (evaluate, "write_atomically"),
            (curve, "write_atomically"),
        ):
            self._watch(patch, owner, name)

    def _watch(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def write(place: Path | int, data: bytes) -> None:
            path = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else str(place)
            if self.full is not None and self.full in path:
                if isinstance(place, int):
                    real(place, data[: len(data) // 2])  # the part that fitted
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(place, data)

        patch.setattr(owner, name, write)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_to_the_end(tmp_path_factory.mktemp("undisturbed") / "run", GAME)


PLACES = ["weights.safetensors", "state.safetensors", "checkpoint.json", "metrics.csv", "episodes.csv", "events.out"]


@pytest.mark.parametrize("place", PLACES)
def test_full_while_training(tmp_path: Path, disk: Disk, undisturbed: dict[str, Any], place: str) -> None:
    run = tmp_path / "run"
    with closing(make(run, GAME)) as loop:
        kill_after(loop, 5)
    good = frames(run)
    assert good == [128, 256]
    disk.full = place
    refusal = hadamax("resume", run)
    assert refusal.code == 2
    going_on, *progress, line = refusal.err.splitlines()
    assert going_on == "resuming at frame 256 of 512"
    assert len(progress) <= 1
    assert line == (
        f"hadamax: out: {run} cannot be written: No space left on device; the last good checkpoint is "
        f"{run}/checkpoints/frame_000000000256; make room, then: hadamax resume {run}"
    )
    assert frames(run) == good
    disk.full = None
    assert hadamax("resume", run).code == 0
    same(undisturbed, outcome(run))


def test_full_before_the_first_checkpoint(tmp_path: Path, disk: Disk) -> None:
    disk.full = "metrics.csv"
    line = hadamax(*flags(tmp_path / "run", GAME)).err.splitlines()[-1]
    assert line.startswith(f"hadamax: out: {tmp_path / 'run'} cannot be written: No space left on device; ")
    assert "there is no checkpoint yet; make room, then: hadamax resume" in line


def test_full_while_drawing_the_curve(tmp_path: Path, disk: Disk, undisturbed: dict[str, Any]) -> None:
    run = tmp_path / "run"
    disk.full = "curve.png"
    result = hadamax(*flags(run, GAME))
    assert result.code == 2
    line = result.err.splitlines()[-1]
    assert line == (
        f"hadamax: out: {run / 'curve.png'} cannot be written: No space left on device; the run itself is complete"
    )
    same(undisturbed, outcome(run))


def test_full_during_the_evaluation(tmp_path: Path, disk: Disk) -> None:
    run = tmp_path / "run"
    run_to_the_end(run, GAME)
    assert hadamax("evaluate", run, "--episodes", 2).code == 0
    before = (run / "evaluation.json").read_bytes()
    disk.full = "evaluation.json"
    refusal = hadamax("evaluate", run, "--episodes", 3).refusal
    assert refusal == f"run: {run} cannot be written: No space left on device"
    assert (run / "evaluation.json").read_bytes() == before


def test_full_from_the_start(tmp_path: Path, disk: Disk) -> None:
    disk.full = "config.toml"
    refusal = hadamax(*flags(tmp_path / "run", GAME)).refusal
    assert refusal.startswith("out: ")
    assert refusal.endswith("cannot be written: No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a 2 MiB file system, if this process may."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(path)], capture_output=True)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.slow
def test_small_disk_with_any_free_space(small_disk: Path, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """The disk ends at many places, down to no space at all."""
    refused = 0
    for left in (0, 4, 12, 40, 120):
        run = small_disk / f"run-{left}"
        with closing(make(run, GAME)) as loop:
            kill_after(loop, 5)
        filler = small_disk / "filler"
        status = os.statvfs(small_disk)
        filler.write_bytes(b"\1" * (status.f_bavail * status.f_bsize - left * 1024))
        result = hadamax("resume", run)
        assert result.code in (0, 2), result
        if result.code == 2:
            refused += 1
            assert "No space left on device" in result.err.splitlines()[-1]
            assert "Traceback" not in result.err
        filler.unlink()
        again = hadamax("resume", run)
        assert again.code == 0, again
        assert "cannot be used" not in again.err
        same({**undisturbed, "frames": 0}, {**outcome(run), "frames": 0})
        subprocess.run(["rm", "-r", str(run)], check=True)
    assert refused >= 3
