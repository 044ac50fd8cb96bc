"""`hadamax sweep` and `hadamax status` on the command line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.runs.runs import hadamax

from hadamax.runs.logs import read_csv
from hadamax.studies.runs import PlannedRun
from hadamax.studies.status_table import write_plan

STUDY = """
about = "two seeds of CartPole"
algorithm = "pqn"
games = ["CartPole-v1"]
seeds = 2

[settings]
frames = 512
encoder = "mlp"
features = 16
num_envs = 4
num_steps = 16
num_minibatches = 2
num_test_envs = 0

[variants]
tanh = { activation = "tanh" }
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(STUDY)
    return tmp_path / "runs" / "small"


@pytest.mark.slow
def test_sweep_runs_and_evaluates_every_run(study: Path) -> None:
    before = hadamax("sweep", "small.toml", "--dry-run", "--measure", "0").out
    assert "2 runs (1 variant x 1 game x 2 seeds), 1,024 frames in all" in before
    assert "in runs/small: 2 runs: 2 waiting" in before
    result = hadamax("sweep", "small.toml", "--workers", "2", "--episodes", "2")
    assert result.code == 0, result
    assert "2 runs: 2 done" in result.out
    for seed in (1, 2):
        assert (study / "tanh" / "CartPole-v1" / f"seed-{seed}" / "evaluation.json").exists()
    rows = len(read_csv(study / "ledger.csv"))
    assert rows == 4  # two runs, each started and ended
    again = hadamax("sweep", "small.toml", "--workers", "2", "--episodes", "2")
    assert (again.code, len(read_csv(study / "ledger.csv"))) == (0, rows)
    status = hadamax("status", "runs/small")
    assert status.code == 0
    assert "2 runs: 2 done" in status.out
    assert status.out.count("final evaluation") == 2


@pytest.mark.slow
def test_dry_run_estimates_the_cost(study: Path) -> None:
    result = hadamax("sweep", "small.toml", "--dry-run", "--measure", "2")
    assert result.code == 0, result
    first = next(line for line in result.out.splitlines() if line.startswith("tanh/CartPole-v1/seed-1"))
    _, state, frames, rate, hours, _ = first.split()
    assert (state, frames) == ("waiting", "512")
    assert float(hours) == pytest.approx(512 / float(rate.replace(",", "")) / 3600, rel=0.05)
    assert "2 runs: 2 waiting" in result.out
    assert not study.exists()
    text = Path("small.toml").read_text()
    Path("small.toml").write_text(text.replace('"mlp"', '"nature"'))
    refusal = hadamax("sweep", "small.toml", "--dry-run", "--measure", "2").refusal
    assert refusal.startswith("tanh/CartPole-v1/seed-1: ")


def test_changed_study_is_an_error(study: Path) -> None:
    run = study / "tanh" / "CartPole-v1" / "seed-1"
    (line, _) = hadamax("sweep", "small.toml", "--print-commands", "--threads", "1").out.splitlines()
    assert hadamax(*shlex.split(line)[1:]).code == 0
    done = (run / "evaluation.json").read_bytes()
    assert hadamax(*shlex.split(line)[1:]).code == 0  # nothing left to run
    assert (run / "evaluation.json").read_bytes() == done
    text = Path("small.toml").read_text()
    Path("small.toml").write_text(text.replace("frames = 512", "frames = 1024"))
    refusal = hadamax("sweep", "small.toml", "--dry-run").refusal
    where = run.relative_to(Path.cwd())
    assert (
        refusal == f"study: {where} is a run with frames = 512, not 1024; give the study another name, or another --out"
    )
    other = hadamax(*shlex.split(line.replace("--frames=512", "--frames=1024"))[1:]).refusal
    assert other == f"out: {where} holds a run with frames = 512, not 1024; choose another folder"
    assert (run / "evaluation.json").read_bytes() == done


def test_status_lists_planned_runs(study: Path) -> None:
    names = [f"tanh/CartPole-v1/seed-{seed}" for seed in (1, 2)]
    write_plan(study, [PlannedRun(name, (), 512) for name in names])
    (study / names[0]).mkdir(parents=True)
    (study / names[0] / "config.toml").write_text("half of")
    out = hadamax("status", study).out
    assert "2 runs: 1 waiting, 1 unreadable" in out
    assert all(name in out for name in names)


@pytest.mark.slow
def test_incomplete_folder_is_set_aside_and_the_others_run(study: Path) -> None:
    broken = study / "tanh" / "CartPole-v1" / "seed-1"
    broken.mkdir(parents=True)
    (broken / "config.toml").write_text("[run")
    result = hadamax("sweep", "small.toml", "--workers", "2", "--episodes", "2")
    assert result.code == 2
    assert result.err.splitlines()[-1] == (
        "hadamax: study: 1 run was set aside; see runs/small/ledger.csv; --retry runs them again"
    )
    assert "config.toml: is not a TOML file" in " ".join(result.out.split())
    assert "2 runs: 1 done, 1 set aside" in result.out


def test_print_commands_lists_every_run(study: Path) -> None:
    lines = hadamax("sweep", "small.toml", "--print-commands", "--threads", "1").out.splitlines()
    assert [shlex.split(line)[:3] for line in lines] == [["hadamax", "train", "pqn"]] * 2
    assert ["--seed=1" in lines[0], "--seed=2" in lines[1]] == [True, True]
    shards = [hadamax("sweep", "small.toml", "--print-commands", "--threads", "1", "--shard", f"{i}/2") for i in (1, 2)]
    assert [shard.out.splitlines() for shard in shards] == [[lines[0]], [lines[1]]]
    assert not study.exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["sweep", "nothing"], "study: 'nothing' is unknown; expected one of FILE.toml, "),
        (["sweep", "nothing.toml"], "nothing.toml: cannot be read: No such file or directory"),
        (["sweep", "small.toml", "--shard", "3/2"], "shard: '3/2' is invalid; expected i/n with i from 1 to n"),
        (["sweep", "small.toml", "--shard", "x"], "shard: 'x' is invalid"),
        (["sweep", "small.toml", "--workers", "0"], "workers: 0 is too small; expected 1 or more"),
        (["sweep", "small.toml", "--episodes", "0"], "episodes: 0 is too small; expected 1 or more"),
        (["sweep", "small.toml", "--gpus", "1.5"], "gpus: 1.5 is invalid; expected a share of a GPU"),
        (["sweep", "small.toml", "--gpus", "64"], "gpus: 64 of each run are more than the "),
        (["status", "."], "study: . has no runs below it; begin some with: hadamax sweep"),
        (["status", "nowhere"], "study: nowhere has no runs below it"),
    ],
)
def test_invalid_arguments_are_one_line_errors(study: Path, arguments: list[str], line: str) -> None:
    assert line in hadamax(*arguments).refusal
    assert not study.exists()
