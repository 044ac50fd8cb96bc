"""Studies in worker processes: real CartPole runs, some killed or refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.runs.runs import CARTPOLE, flags, hadamax, outcome, same

from hadamax.errors import UserError
from hadamax.runs.folder import RunFolder
from hadamax.runs.logs import read_csv
from hadamax.studies.attempt import Attempt, Outcome
from hadamax.studies.ledger import Ledger
from hadamax.studies.local import Local
from hadamax.studies.runs import PlannedRun, State, progress_of, state_of
from hadamax.studies.work import SAME_KILLS, _failed_too_often, work

pytestmark = pytest.mark.slow


def a_run(study: Path, name: str, **settings: object) -> PlannedRun:
    """Return a run of a few hundred frames."""
    arguments = flags(study / name, CARTPOLE, **{"frames": 512, "checkpoint_every": 64, **settings})
    return PlannedRun(name, (*map(str, arguments), "--resume", "--evaluate", "2"))


def worked(study: Path, *runs: PlannedRun, workers: int = 2) -> bool:
    return work(study, runs, Local(study, workers=workers))


def events(study: Path) -> list[tuple[str, str]]:
    return [(row["run"], row["event"]) for row in read_csv(study / "ledger.csv")]


def test_study_runs_from_start_to_end(tmp_path: Path) -> None:
    good = [a_run(tmp_path, "game/a/seed-1", seed=1), a_run(tmp_path, "game/a/seed-2", seed=2)]
    refused = a_run(tmp_path, "game/b/seed-1", gamma=2)
    assert not worked(tmp_path, *good, refused)
    for run in good:
        assert state_of(tmp_path / run.name) is State.DONE
        assert progress_of(tmp_path / run.name).source == "final evaluation"
    (reason,) = Ledger(tmp_path).set_aside().values()
    assert "gamma: 2.0 is out of range; expected 0 to 1; see " in reason
    assert events(tmp_path).count((refused.name, "failed")) == 2

    before = events(tmp_path)
    assert not worked(tmp_path, *good, refused)
    assert events(tmp_path) == before  # nothing runs twice
    more = a_run(tmp_path, "game/a/seed-3", seed=3)
    assert worked(tmp_path, *good, more)
    assert {run for run, _ in events(tmp_path)[len(before) :]} == {more.name}

    Ledger(tmp_path).try_again([refused.name])
    assert worked(tmp_path, a_run(tmp_path, refused.name))
    assert not Ledger(tmp_path).set_aside()


def test_killed_run_is_resumed(tmp_path: Path) -> None:
    run = a_run(tmp_path, "run", frames=20_000)
    engine = Local(tmp_path, workers=1)
    killed: list[int] = []

    def kill() -> None:
        if engine.attempts and not killed and list((tmp_path / "run" / "checkpoints").glob("frame_*")):
            os.kill(engine.attempts[0].process.pid, signal.SIGKILL)
            killed.append(engine.attempts[0].process.pid)

    assert work(tmp_path, [run], engine, kill)
    assert killed
    assert [event for _, event in events(tmp_path)] == ["started", "failed", "started", "ended"]
    assert read_csv(tmp_path / "ledger.csv")[1]["detail"].startswith("from outside: signal 9, at frame ")
    assert "resuming at frame" in (tmp_path / "logs" / "run.log").read_text()
    assert hadamax(*flags(tmp_path / "whole", CARTPOLE, frames=20_000, checkpoint_every=64)).code == 0
    same(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


def test_runs_stop_with_their_study_and_stay_locked_until_then(tmp_path: Path) -> None:
    run = a_run(tmp_path, "run", frames=10**9)
    study = (
        "from pathlib import Path; from hadamax.studies.local import Local;"
        "from hadamax.studies.runs import PlannedRun; from hadamax.studies.work import work;"
        f"p = Path({str(tmp_path)!r}); work(p, [PlannedRun(*{tuple(run)!r})], Local(p, workers=1))"
    )
    process = subprocess.Popen([sys.executable, "-c", study])
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run" / "checkpoints").glob("frame_*")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.wait()
    log = tmp_path / "logs" / "run.log"
    while state_of(tmp_path / "run") is State.RUNNING:
        assert Attempt.begin(run, tmp_path, {}) == Outcome("run", taken=True)
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    assert "checkpoint written; continue with: hadamax resume" in log.read_text()
    assert state_of(tmp_path / "run") is State.STOPPED


def test_two_sweeps_of_one_folder_run_nothing_twice(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, f"run-{seed}", seed=seed) for seed in range(1, 5)]
    results: list[bool] = []
    others = [threading.Thread(target=lambda: results.append(worked(tmp_path, *runs, workers=1))) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert results == [True, True]
    counts = Counter(events(tmp_path))
    assert all(counts[run.name, event] == 1 for run in runs for event in ("started", "ended"))
    assert len(read_csv(tmp_path / "ledger.csv")) == 2 * len(runs)


def test_full_disk_stops_the_study_and_sets_nothing_aside(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").symlink_to("/dev/full")  # an unreadable run with an error of the disk

    class Full:
        """An engine whose runs end as on a full disk."""

        def has_room(self) -> bool:
            return True

        def start(self, run: PlannedRun) -> Outcome:
            return Outcome(run.name, f"hadamax: out: {run.name} cannot be written: {os.strerror(28)}; make room")

        def outcomes(self) -> list[Outcome]:
            return []

        def stop(self) -> None: ...

    with pytest.raises(UserError, match=r"No space left on device.*free disk space and repeat"):
        work(tmp_path, [a_run(tmp_path, "run")], Full())
    assert not Ledger(tmp_path).set_aside()


def test_when_a_run_failed_too_often() -> None:
    kill = Outcome("run", "from outside: signal 9, at frame 0")
    crash = Outcome("run", "RuntimeError: it broke")
    assert not _failed_too_often(crash, [crash.failure])
    assert _failed_too_often(crash, [crash.failure, "another", crash.failure])
    assert _failed_too_often(crash, ["one", "another", crash.failure])
    assert not _failed_too_often(kill, [kill.failure] * (SAME_KILLS - 1))
    assert _failed_too_often(kill, [kill.failure] * SAME_KILLS)
    assert not _failed_too_often(crash, [*[kill.failure] * 5, crash.failure])


def test_gpus_go_to_runs_with_room(tmp_path: Path) -> None:
    engine = Local(tmp_path, workers=9, gpus=0.5, gpu_names=("0", "3"))
    given = []
    for _ in range(4):
        (card,) = engine._free_gpus()
        engine._room[card] -= 0.5
        given.append(card)
    assert given == ["0", "3", "0", "3"]
    assert not engine.has_room()
    whole = Local(tmp_path, workers=9, gpus=2, gpu_names=("0", "1", "2"))
    assert whole._free_gpus() == ["0", "1"]


def test_state_of_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert state_of(folder) is State.WAITING
    folder.mkdir()
    (folder / "config.toml").write_text("")
    assert state_of(folder) is State.STOPPED
    holder = RunFolder(folder)
    holder.lock()
    assert state_of(folder) is State.RUNNING
    holder.unlock()
    assert state_of(folder) is State.STOPPED


def test_progress_reads_the_last_complete_row(tmp_path: Path) -> None:
    rows = "".join(f"{frame},{frame / 10},100.5\n" for frame in range(10_000))
    (tmp_path / "metrics.csv").write_text("frame,training_return,frames_per_second\n" + rows + "10000,12")
    assert progress_of(tmp_path) == (9999, 100.5, 999.9, "training games")
    (tmp_path / "metrics.csv").write_text("frame,training_return,frames_per_second\n")
    assert progress_of(tmp_path) == (0, 0.0, None, "")
    (tmp_path / "metrics.csv").write_text("frame,traini")
    assert progress_of(tmp_path) == (0, 0.0, None, "")
