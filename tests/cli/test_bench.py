"""`hadamax bench` at small sizes: results, pictures, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from tests.runs.runs import hadamax

from hadamax.benchmark import sections
from hadamax.benchmark.contender import Contender, Spec, WorkerError
from hadamax.benchmark.report import TARGETS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--only netwrok", "only: 'netwrok' is unknown; did you mean 'network'?"),
        ("--threads 5000", "threads: 5000 is out of range; expected 0 to 1024"),
        ("--encoder mlp", "encoder: 'mlp' does not accept observations (4, 84, 84)"),
        ("--rounds 0", "rounds: 0 is too small; expected 1 or more"),
        ("--json /nowhere/bench.json", "json: the folder of '/nowhere/bench.json' does not exist"),
        ("--out /nowhere/bench.png", "out: the folder of '/nowhere/bench.png' does not exist"),
        ("--json .", "json: '.' is a folder; expected a file"),
        (
            "--json bench.png --out ./bench.png",
            "out: './bench.png' is also the file of the numbers; expected another file",
        ),
        (
            "--only blocks memory --out b.png",
            "out: blocks, memory cannot be drawn; expected iteration or network",
        ),
        ("--only", "only: no section is named; expected blocks, network, memory, iteration, run"),
    ],
)
def test_invalid_arguments_are_one_line_errors(arguments: str, said: str) -> None:
    assert hadamax("bench", *arguments.split()).refusal.startswith(said)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (["--encoder", "hadamax-c51"], "block 3: plain PyTorch: a norm over the whole map"),
        (["--activation", "selu"], "block 3: plain PyTorch: activation selu"),
        (
            ["--encoder", "impala"],
            "block 5: fused, C++, and plain PyTorch: an activation or a pool without a kernel, or a single activation",
        ),
    ],
)
@pytest.mark.kernels
def test_report_names_what_computes_each_block(network: list[str], said: str) -> None:
    done = hadamax("bench", "--only", "blocks", "--precision", "float32", *network)
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("as asked, float32: convolution 1: ")]
    assert line.endswith(said)
    assert "milliseconds" not in done.out


@pytest.mark.slow
def test_iteration_is_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"num_envs": 4, "num_steps": 4, "num_minibatches": 2, "num_epochs": 1, "num_test_envs": 1}
    monkeypatch.setattr(sections, "KINDS", (("nature-norm-PQN", "nature-norm", small),))
    numbers, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    flags = ["--only", "iteration", "--rounds", 2, "--threads", 1, "--precision", "float32"]
    done = hadamax("bench", *flags, "--json", numbers, "--out", picture)
    assert done.code == 0, done.err
    assert "nature-norm, float32: convolution 1: " in done.out
    found = json.loads(numbers.read_text())
    name = "nature-norm-PQN iteration / sum of its parts alone"
    assert found["ratios"][name]["low"] <= found["ratios"][name]["median"] <= found["ratios"][name]["high"]
    assert found["targets"][name]["kept"] is (found["ratios"][name]["median"] <= 1.25)
    assert set(found["targets"]) == {target.ratio for target in TARGETS}
    parts = [
        found["seconds"][f"nature-norm-PQN: {part}"] for part in ("acting products", "learning products", "emulators")
    ]
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in parts)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_network_and_memory_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "ENCODERS", ("nature-norm",))
    monkeypatch.setattr(sections, "PEAKS", 1)
    monkeypatch.setattr(sections, "Spec", partial(Spec, batch=4))
    numbers, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    flags = ["--only", "network", "memory", "--rounds", 1, "--threads", 1, "--precision", "float32"]
    done = hadamax("bench", *flags, "--json", numbers, "--out", picture)
    assert done.code == 0, done.err
    found = json.loads(numbers.read_text())
    ratios = {name: ratio["median"] for name, ratio in found["ratios"].items()}
    for name in ("forward+backward / products alone", "eager PyTorch / ours, update"):
        assert ratios[f"nature-norm, float32: {name}"] > 0
    assert 0 < ratios["hadamax, float32: memory of an update / eager PyTorch"] < 3
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_failed_worker_reports_its_reason() -> None:
    with pytest.raises(WorkerError, match="products, impala, float32: ValueError: impala: only encoders of plain"):
        Contender(Spec("products", encoder="impala"))


@pytest.mark.slow
def test_ctrl_c_is_one_line() -> None:
    """Ctrl-C reaches the workers too; none of them prints a traceback."""
    command = [sys.executable, "-m", "hadamax", "bench", "--only", "network", "--precision", "float32"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # background jobs of a shell ignore SIGINT
    with subprocess.Popen(command, text=True, start_new_session=True, preexec_fn=heard, **pipes) as bench:
        assert bench.stderr is not None
        bench.stderr.readline()  # the first measurement, before its workers start
        time.sleep(2)
        os.killpg(bench.pid, signal.SIGINT)
        said = bench.stderr.read()
    assert bench.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "hadamax: interrupted; what was written stays as it is"


@pytest.mark.slow
def test_full_run_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--num-envs", "2", "--num-test-envs", "0", "--num-steps", "16", "--num-minibatches", "2")
    monkeypatch.setattr(sections, "RUN", ("--env", "CartPole-v1", "--encoder", "mlp", *small))
    monkeypatch.setattr(sections, "FRAMES", 32)
    done = hadamax("bench", "--only", "run", "--threads", 1, "--precision", "float32")
    assert done.code == 0, done.err
    assert "full run: 64 of 64 frames in " in done.out


@pytest.mark.slow
def test_refused_full_run_reports_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "RUN", ("--env", "NoSuchGame"))
    done = hadamax("bench", "--only", "run", "--threads", 1, "--precision", "float32")
    assert done.code == 2
    progress, refusal = done.err.splitlines()
    assert progress == "hadamax train pqn, 32,768 frames"
    assert refusal.startswith("hadamax: bench: section run cannot be measured: hadamax train: hadamax: ")
