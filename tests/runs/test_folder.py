"""A run's folder: nothing is overwritten, and folders that are no runs are recognised."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from tests.runs.runs import CARTPOLE, contents, hadamax, kill_after, make, run_to_the_end, train

import hadamax.runs.folder as folders
import hadamax.runs.setup as runs

GAME = {**CARTPOLE, "frames": 64}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    run_to_the_end(path, GAME)
    return path


@pytest.fixture
def config(finished: Path, tmp_path: Path) -> Path:
    """Write a run folder with only a `config.toml`."""
    path = tmp_path / "run" / "config.toml"
    path.parent.mkdir()
    path.write_text((finished / "config.toml").read_text())
    return path


def test_existing_run_is_not_overwritten(finished: Path) -> None:
    before = contents(finished)
    refusal = train(finished, GAME).refusal
    assert refusal == (
        f"out: {finished} already holds a run; continue it with: hadamax resume {finished}, or choose another"
    )
    assert contents(finished) == before


def test_other_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert train(tmp_path, GAME).refusal == f"out: {tmp_path} is not empty and not a run; choose another folder"
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_leftovers_of_a_killed_start_are_replaced(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".writing-config.toml").write_text("half of")
    assert train(tmp_path, GAME).code == 0
    assert not (tmp_path / ".writing-config.toml").exists()


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("/dev/null", "/dev/null is not a writable folder"),
        ("/dev/null/run", "/dev/null is not a writable folder"),
        ("/proc/run", "No such file or directory"),
        ("n" * 300, "File name too long"),
    ],
)
def test_unwritable_folder_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refusal = train(out, GAME).refusal
    assert refusal.replace("'", "") == f"out: {out} cannot be written: {reason}"
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("out", ["/dev/null/run", "n" * 300, "run", "thesis"])
def test_folder_is_checked_before_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    def build(*_: Any) -> None:
        raise AssertionError("a minute of work, and lines before the refusal")

    for there in ("run/config.toml", "thesis/chapter"):
        (tmp_path / there).parent.mkdir()
        (tmp_path / there).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "_build", build)
    assert train(out, GAME).refusal.startswith("out: ")


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_folders_that_are_no_runs_are_errors(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        refusal = hadamax(command, path).refusal
        assert refusal == f"run: {path} is not a run's folder (no config.toml in it); make one with: hadamax train"
    assert "File name too long" in hadamax(command, "n" * 300).refusal
    assert contents(tmp_path) == {"file": b""}


def test_run_without_a_checkpoint_has_no_agent(config: Path) -> None:
    refusal = hadamax("evaluate", config.parent).refusal
    assert refusal == f"checkpoint: 'latest' of {config.parent} cannot be used; expected none yet; train it first"


HOLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1] + "/.lock", os.O_RDWR), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def test_run_in_use_is_an_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with closing(make(run, GAME, frames=192)) as loop:
        kill_after(loop, 1)
    command = [sys.executable, "-c", HOLDER, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        before = contents(run)
        refusal = hadamax("resume", run).refusal
        assert refusal == f"run: {run} is in use by another process; wait for it or stop it"
        assert contents(run) == before
        process.kill()
        process.communicate()
    assert hadamax("resume", run).code == 0  # the lock ends with the process that held it


BROKEN = [
    ("format = 1", "format = 2", "format 2 cannot be read by this hadamax; expected up to 1"),
    ("format = 1", "", "format None cannot be read by this hadamax; expected up to 1"),
    ("format = 1", "format = '1'", "format '1' cannot be read by this hadamax; expected up to 1"),
    ("format = 1", "format = = 1", "is not a TOML file: Invalid value (at line 1, column 10)"),
    ("format = 1", "\0", "is not a TOML file: Invalid statement (at line 1, column 1)"),
    ('"pqn"', '"pqm"', "algorithm: 'pqm' is unknown; did you mean 'pqn'? expected one of pqn, dqn, c51, ppo, rainbow"),
    ('"pqn"', "['pqn']", "algorithm: ['pqn'] is unknown; "),
    ("seed = 1", "sead = 1", "setting: 'sead' is unknown; did you mean 'seed'? expected one of "),
    ("seed = 1", "seed = 1.0", "seed: 1.0 is of the wrong type; expected a whole number"),
    ("seed = 1", "seed = true", "seed: True is of the wrong type; expected a whole number"),
    ("seed = 1", "seed = '1'", "seed: '1' is of the wrong type; expected a whole number"),
    ("seed = 1", "seed = -1", "seed: -1 is too small; expected 0 or more"),
    ("seed = 1", "seed = 1\nkeep_checkpoints_at = 5", "keep_checkpoints_at: 5 is of the wrong type; expected a list"),
    ("seed = 1", "seed = 1\nmax_minutes = 'x'", "max_minutes: 'x' is of the wrong type; expected a number"),
    ('precision = "float32"', 'precision = "float8"', "precision: 'float8' is of the wrong type; expected auto"),
    ("gamma = 0.99", "gamma = [0.99]", "gamma: [0.99] is of the wrong type; expected a number"),
    ("gamma = 0.99", "gamma = nan", "gamma: nan is out of range; expected 0 to 1"),
    ("lr_decay = true", "lr_decay = 1", "lr_decay: 1 is of the wrong type; expected true or false"),
    ("[network]", "[run.x]\n[network]", "setting: 'x' is unknown; "),
    ("[network]", "[[network]]", "network: [{"),
]


@pytest.mark.parametrize("command", ["resume", "evaluate"])
@pytest.mark.parametrize(("old", "new", "line"), BROKEN)
def test_damaged_config_is_an_error(config: Path, old: str, new: str, line: str, command: str) -> None:
    text = config.read_text()
    assert text.count(old) >= 1
    config.write_text(text.replace(old, new, 1))
    before = contents(config.parent)
    assert hadamax(command, config.parent).refusal.startswith(f"{config}: {line}")
    assert contents(config.parent) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("input_scale = 1.0", "input_scale = inf"),
        ("input_scale = 1.0", "input_scale = []"),
        ("input_scale = 1.0", ""),
        ("[spaces]", "[places]"),
        ("observation_shape = [", "observation_shape = [inf, "),
    ],
)
def test_damaged_spaces_are_an_error(tmp_path: Path, finished: Path, old: str, new: str) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", str(finished), str(run)], check=True)
    text = (run / "config.toml").read_text()
    assert text.count(old) == 1
    (run / "config.toml").write_text(text.replace(old, new))
    assert len(hadamax("evaluate", run).refusal) < 300


def test_changed_versions_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise PackageNotFoundError

    found = folders.versions()
    assert found["torch"][0].isdigit()
    assert found["processor"]
    monkeypatch.setattr(folders, "version", absent)
    assert folders.versions()["torch"] == "not installed"


def test_error_gives_the_systems_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    out = tmp_path / "run"
    assert train(out, GAME).refusal == f"out: {str(out)!r} cannot be written: Permission denied"
