"""A mark tells a finished run; a mark that does not fit is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runs.runs import CARTPOLE, frames, hadamax, train

from hadamax.runs import setup as runs
from hadamax.runs.checkpoints import MANIFEST
from hadamax.runs.folder import MARK, finished


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    assert train(tmp_path / "run", CARTPOLE, frames=256, checkpoint_every=64).code == 0
    return tmp_path / "run"


def test_resuming_a_finished_run_plays_no_game(ended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hadamax("resume", ended)
    monkeypatch.setattr(runs, "training_environment", lambda *_: pytest.fail("the games were made"))
    assert hadamax("resume", ended) == before
    assert before.out.startswith(f"{ended} is finished: 256 frames, training games ")


def test_missing_mark_is_written_again(ended: Path) -> None:
    before = hadamax("resume", ended)
    (ended / MARK).unlink()
    assert hadamax("resume", ended) == before
    assert finished(ended) is not None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"checkpoint": 3, "sha256": null}', "[" * 10_000, "\xff"])
def test_damaged_mark_is_ignored(ended: Path, content: str) -> None:
    (ended / MARK).write_text(content, encoding="latin-1")
    assert finished(ended) is None
    assert "is finished: 256 frames" in hadamax("resume", ended).out


def test_mark_of_another_checkpoint_is_ignored(ended: Path) -> None:
    last = max((ended / "checkpoints").iterdir())
    (last / MANIFEST).write_bytes(b"{}")
    assert finished(ended) is None
    result = hadamax("resume", ended)
    assert "resuming at frame 192 of 256" in result.err
    assert finished(ended) is not None
    assert max(frames(ended)) == 256


def test_unfinished_run_has_no_mark(tmp_path: Path) -> None:
    assert train(tmp_path / "run", CARTPOLE, frames=256).code == 0
    last = max((tmp_path / "run" / "checkpoints").iterdir())
    last.rename(last.with_name("frame_000000000064"))
    assert finished(tmp_path / "run") is None
