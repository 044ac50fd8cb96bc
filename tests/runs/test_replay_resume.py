"""A run with a replay resumes bit for bit: killed at any iteration, after wrapping around, with damaged rows."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.runs.runs import (
    REPLAY,
    checkpoint,
    contents,
    flags,
    frames,
    hadamax,
    kill_after,
    make,
    outcome,
    resumed,
    run_to_the_end,
    same,
    train,
)
from tests.runs.test_bad_checkpoints import Bomb, rewrite
from tests.runs.test_kill import die

from hadamax.algorithms.rainbow import Rainbow
from hadamax.runs import loop as loops
from hadamax.runs import row_files
from hadamax.runs.checkpoints import MANIFEST

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    whole = run_to_the_end(tmp_path_factory.mktemp("undisturbed") / "run", REPLAY)
    assert len(whole["episodes"].splitlines()) > 10
    return whole


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run killed after frame 1408 with checkpoints at 960 and 1280."""
    path = tmp_path_factory.mktemp("killed") / "run"
    with closing(make(path, REPLAY)) as loop:
        kill_after(loop, 22)
        assert loop.algorithm.replay.heads.min() > 1.5 * loop.algorithm.replay.length  # type: ignore[attr-defined]
    assert frames(path)[-2:] == [960, 1280]
    return path


@pytest.fixture
def run(tmp_path: Path, killed: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "run"))


def rows_of(run: Path, frame: int) -> list[str]:
    """Return the files that a checkpoint needs, in order."""
    manifest = json.loads((checkpoint(run, frame) / MANIFEST).read_bytes())
    return [f"{entry['sha256']}.safetensors" for entry in manifest["rows"]["replay/rows"]]


def place(run: Path, name: str) -> Path:
    return run / "checkpoints" / row_files.FOLDER / name


def test_resume_equals_uninterrupted_run(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    run = tmp_path / "run"
    for number, iterations in enumerate((3, 12)):
        with resumed(run) if number else closing(make(run, REPLAY)) as loop:
            kill_after(loop, iterations)
    with resumed(run) as loop:
        assert loop.train()
    same(undisturbed, outcome(run))


def test_disk_holds_only_rows_needed_to_resume(tmp_path: Path, killed: Path) -> None:
    named = {name for frame in frames(killed)[-2:] for name in rows_of(killed, frame)}
    assert {path.name for path in (killed / "checkpoints" / row_files.FOLDER).iterdir()} == named
    older, newer = (set(rows_of(killed, frame)) for frame in frames(killed)[-2:])
    assert older & newer, "rows are written once"
    assert newer - older
    assert older - newer, "and let go when the ring has left them"


def test_best_checkpoint_keeps_only_weights(run: Path) -> None:
    """It can be evaluated but not resumed: its replay rows are deleted with the last ones."""
    early = [frame for frame in frames(run) if frame < 960]
    assert 320 in early, "named in the settings"
    assert hadamax("evaluate", run, "--checkpoint", early[0], "--episodes", 1).code == 0
    for frame in frames(run)[-2:]:
        shutil.rmtree(checkpoint(run, frame))
    refusal = hadamax("resume", run).refusal
    assert "its part of the replay was deleted: only the last checkpoints keep theirs" in refusal


def damage(run: Path, content: Callable[[bytes], bytes]) -> None:
    """Change the newest rows of the newest checkpoint."""
    path = place(run, rows_of(run, 1280)[-1])
    path.write_bytes(content(path.read_bytes()))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a file is gone": lambda run: place(run, rows_of(run, 1280)[-1]).unlink(),
    "a bit is flipped": lambda run: damage(run, lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "a file is cut": lambda run: damage(run, lambda data: data[: len(data) // 2]),
    "a pickle": lambda run: damage(run, lambda data: pickle.dumps(Bomb())),
    "a name that leaves the folder": lambda run: rename(run, "../../../../etc/passwd"),
    "a name that is a number": lambda run: rename(run, 7),
    "rows as a number": lambda run: rewrite(checkpoint(run, 1280), manifest=lambda m: m.update(rows=1)),
    "no rows": lambda run: rewrite(checkpoint(run, 1280), manifest=lambda m: m.pop("rows")),
    "rows without their first": lambda run: rewrite(
        checkpoint(run, 1280), manifest=lambda m: m["rows"]["replay/rows"].pop(0)
    ),
    "heads of another replay": lambda run: rewrite(
        checkpoint(run, 1280), state=lambda state: state.update({"replay/heads": state["replay/heads"] + 1})
    ),
}


def rename(run: Path, name: Any) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["rows"]["replay/rows"][-1]["sha256"] = name

    rewrite(checkpoint(run, 1280), manifest=change)


@pytest.mark.parametrize("name", DAMAGES)
def test_resume_past_damaged_rows_is_exact(
    run: Path, undisturbed: dict[str, Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    DAMAGES[name](run)
    said: list[str] = []
    with resumed(run, said.append) as loop:
        assert loop.algorithm.frames == 960
        if name in ("a bit is flipped", "heads of another replay"):  # one read before the rest of the state, one after
            assert loop.train()
            same({**undisturbed, "frames": 0}, {**outcome(run), "frames": 0})
    line, size = said
    assert size.startswith("replay: 90 transitions, ")
    assert line.startswith("checkpoint frame_000000001280 cannot be used (")
    assert line.endswith("); trying the one before")
    assert len(line.splitlines()) == 1
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("long", [False, True])
def test_interrupt_while_the_ring_overwrites_rows(
    tmp_path: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    """A long iteration is aborted after it overwrote rows; the state before it is written."""
    update, calls = Rainbow.update, []

    def signalled(self: Rainbow, batch: Any) -> Any:
        calls.append(self.updates)
        if len(calls) == 72:
            signal.raise_signal(signal.SIGTERM)
            assert not long, "the signal should have broken this iteration off"
        return update(self, batch)

    monkeypatch.setattr(Rainbow, "update", signalled)
    monkeypatch.setattr(loops, "LONG_ITERATION_SECONDS", 0.0 if long else 1e9)
    assert train(tmp_path / "run", REPLAY).code == 130
    assert hadamax("resume", tmp_path / "run").code == 0
    expected, found = undisturbed, outcome(tmp_path / "run")
    same({**expected, "frames": 0}, {**found, "frames": 0})


@pytest.mark.slow
def test_resume_after_kill_at_any_disk_change(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    log = tmp_path / "log"
    assert die(10**9, log, flags(tmp_path / "counted", REPLAY)) == 0
    changes = log.read_text().split()
    same(undisturbed, outcome(tmp_path / "counted"))
    # Kills between writing rows, writing the checkpoint and deleting old rows, in a replay that wrapped around.
    moments = [number for number, name in enumerate(changes, start=1) if name in ("rename", "replace", "unlink")]
    for moment in moments[-16::4]:
        run = tmp_path / f"killed-{moment}"
        log.write_text("")
        assert die(moment, log, flags(run, REPLAY)) == -signal.SIGKILL
        after = hadamax("resume", run)
        assert after.code == 0, (moment, after)
        assert "cannot be used" not in after.err, (moment, after)
        same({**undisturbed, "frames": 0}, {**outcome(run), "frames": 0})
        named = {name for frame in frames(run)[-2:] for name in rows_of(run, frame)}
        # Nothing deletes the rest after a kill during the last deletion.
        assert named <= {path.name for path in (run / "checkpoints" / row_files.FOLDER).iterdir()}


def test_replay_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    refusal = train(tmp_path / "run", REPLAY, replay_size=10**12).refusal
    assert refusal.startswith("replay_size: 1,000,000,000,000 transitions need 1,9")  # GB
    assert "expected up to " in refusal
    refusal = train(tmp_path / "run", REPLAY, n_step=50).refusal
    assert refusal == "n_step: 50 is longer than the replay; expected up to 44 (replay_size)"
    assert contents(tmp_path) == {}
