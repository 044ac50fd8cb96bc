"""`kill -9` of a real process at any moment: the resumed run ends as the uninterrupted one."""

from __future__ import annotations

import multiprocessing
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runs.runs import BREAKOUT, CARTPOLE, flags, frames, hadamax, outcome, run_to_the_end, same

DYING = str(Path(__file__).with_name("dying.py"))
CONTEXT = multiprocessing.get_context("forkserver")


def die(moment: int, log: Path, arguments: list[str]) -> int:
    """Run a command that dies at the `moment`-th change of the disk; return its exit code, -9 if killed."""
    CONTEXT.set_forkserver_preload(["hadamax.cli.entry", "hadamax.cli.train", "hadamax.cli.resume"])
    given = {"ARGUMENTS": (moment, str(log), arguments)}
    process = CONTEXT.Process(target=runpy.run_path, args=(DYING, given))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.slow
def test_resume_after_kill_at_any_disk_change(tmp_path: Path) -> None:
    game = {**CARTPOLE, "frames": 384, "checkpoint_every": 128, "keep_checkpoints": 1}
    undisturbed = run_to_the_end(tmp_path / "undisturbed", game)
    log = tmp_path / "log"
    assert die(10**9, log, flags(tmp_path / "counted", game)) == 0
    changes = log.read_text().split()
    assert {"fsync", "mkdir", "rename", "replace", "rmtree"} <= set(changes)
    same(undisturbed, outcome(tmp_path / "counted"))
    generator = random.Random(0)
    for moment in sorted(generator.sample(range(2, len(changes)), 8)):
        run = tmp_path / f"killed-{moment}"
        log.write_text("")
        assert die(moment, log, flags(run, game)) == -signal.SIGKILL
        after = hadamax("resume", run) if (run / "config.toml").exists() else hadamax(*flags(run, game))
        assert after.code == 0, (moment, after)
        assert "cannot be used" not in after.err, (moment, after)
        found = outcome(run)
        same({**undisturbed, "frames": 0}, {**found, "frames": 0})
        assert not list(run.rglob(".writing*")), moment
        shutil.rmtree(run)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in a process of its own."""

    def begin(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-m", "hadamax", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # with the kernels of this process
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
        )

    return begin


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_resume_after_kill_9(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    # Long enough to still run when the signal arrives on a fast machine.
    game = {**BREAKOUT, "frames": 6400, "checkpoint_every": 640, "log_every": 500}
    undisturbed = run_to_the_end(tmp_path / "undisturbed", game)
    run = tmp_path / "run"
    generator = random.Random(1)

    def rows() -> int:
        return (run / "metrics.csv").read_bytes().count(b"\n") if (run / "metrics.csv").exists() else 0

    for number, row in enumerate((2, 4)):  # before the first checkpoint, and after it
        process = start("resume", run) if number else start(*flags(run, game))
        wait_for(lambda row=row: rows() >= row, process)  # type: ignore[misc]
        time.sleep(generator.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert number or not frames(run)
    process = start("resume", run)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"next: hadamax evaluate {run}" in out
    same(undisturbed, outcome(run))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sigint_and_sigterm_checkpoint_and_exit_130(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], number: int
) -> None:
    game = {**CARTPOLE, "frames": 10**6, "log_every": 128}
    process = start(*flags("run", game))
    wait_for(lambda: (tmp_path / "run" / "metrics.csv").exists(), process)
    wait_for(lambda: (tmp_path / "run" / "metrics.csv").read_bytes().count(b"\n") > 2, process)
    second = hadamax("resume", tmp_path / "run")
    assert second.refusal == f"run: {tmp_path / 'run'} is in use by another process; wait for it or stop it"
    third = hadamax(*flags(tmp_path / "run", game))
    assert "already holds a run; continue it with: hadamax resume" in third.refusal
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    (frame,) = frames(tmp_path / "run")
    last = f"interrupted at {frame:,} of 1,000,000 frames, checkpoint written; continue with: hadamax resume run"
    assert err.splitlines()[-1] == last
    assert " frames/s (environment" in err.splitlines()[-2]
    assert len(err.splitlines()) == 3, "a line of progress, the throughput, and this"
