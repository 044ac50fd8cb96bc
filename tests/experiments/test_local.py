"""Studies in worker processes: real runs of CartPole, killed and refused ones among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.training.runs import CARTPOLE, flags

from hadamax.experiments.ledger import Ledger
from hadamax.experiments.local import Job, Local
from hadamax.experiments.runs import Run, State, command, progress_of, state_of
from hadamax.training.folder import RunFolder
from hadamax.training.logs import read_csv

pytestmark = pytest.mark.slow


def a_run(study: Path, name: str, **settings: object) -> Run:
    """A run of a few hundred frames."""
    arguments = flags(study / name, CARTPOLE, **{"frames": 512, "checkpoint_every": 64, **settings})
    return Run(name, tuple(map(str, arguments[1:])), ("--episodes", "2"))


def events(study: Path) -> list[tuple[str, str]]:
    return [(row["run"], row["event"]) for row in read_csv(study / "ledger.csv")]


def test_a_study_from_beginning_to_end(tmp_path: Path) -> None:
    good = [a_run(tmp_path, "game/a/seed-1", seed=1), a_run(tmp_path, "game/a/seed-2", seed=2)]
    refused = a_run(tmp_path, "game/b/seed-1", gamma=2)
    study = Local(tmp_path, [*good, refused], workers=2)
    assert not study.work()
    for run in good:
        assert state_of(tmp_path / run.name) is State.DONE
        assert progress_of(tmp_path / run.name).source == "final evaluation"
    (reason,) = Ledger(tmp_path).set_aside().values()
    assert "gamma: 2.0 is out of range; valid: 0 to 1; see " in reason
    assert events(tmp_path).count((refused.name, "failed")) == 1

    before = events(tmp_path)
    assert not Local(tmp_path, [*good, refused], workers=2).work()
    assert events(tmp_path) == before  # nothing is run twice
    more = a_run(tmp_path, "game/a/seed-3", seed=3)
    assert Local(tmp_path, [*good, more], workers=2).work()
    assert {run for run, _ in events(tmp_path)[len(before) :]} == {more.name}


def test_a_run_that_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    run = a_run(tmp_path, "run", frames=20_000)
    killed: list[int] = []

    def kill(jobs: list[Job]) -> None:
        if jobs and not killed and list((tmp_path / "run" / "checkpoints").glob("frame_*")):
            os.kill(jobs[0].process.pid, signal.SIGKILL)
            killed.append(jobs[0].process.pid)

    assert Local(tmp_path, [run], workers=1, look=kill).work()
    assert killed
    assert [event for _, event in events(tmp_path)] == ["started", "failed", "started", "ended", "started", "ended"]
    assert read_csv(tmp_path / "ledger.csv")[1]["detail"] == "killed by signal 9"
    assert "going on at frame" in (tmp_path / "logs" / "run.log").read_text()


def test_runs_stop_when_their_study_is_killed(tmp_path: Path) -> None:
    study = (
        "from pathlib import Path; from hadamax.experiments.local import Local;"
        "from hadamax.experiments.runs import Run;"
        f"Local(Path({str(tmp_path)!r}), [Run(*{tuple(a_run(tmp_path, 'run', frames=10**9))!r})], workers=1).work()"
    )
    process = subprocess.Popen([sys.executable, "-c", study])
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run" / "checkpoints").glob("frame_*")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert state_of(tmp_path / "run") is State.RUNNING
    process.kill()
    process.wait()
    log = tmp_path / "logs" / "run.log"
    while "checkpoint written; go on with: hadamax resume" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    assert state_of(tmp_path / "run") is State.STOPPED


def test_what_comes_next(tmp_path: Path) -> None:
    run = a_run(tmp_path, "run")
    folder = tmp_path / "run"
    assert state_of(folder) is State.WAITING
    assert command(run, folder, State.WAITING)[:2] == ["train", "pqn"]
    assert command(run, folder, State.STOPPED) == ["resume", str(folder)]
    assert command(run, folder, State.TRAINED) == ["evaluate", str(folder), "--episodes", "2"]
    folder.mkdir()
    (folder / "config.toml").write_text("")
    assert state_of(folder) is State.STOPPED
    holder = RunFolder(folder)
    holder.lock()
    assert state_of(folder) is State.RUNNING
    holder.unlock()
    assert state_of(folder) is State.STOPPED
