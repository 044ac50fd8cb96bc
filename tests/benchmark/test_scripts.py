"""The scripts under `benchmarks/` run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["on_cuda", "several", "shipped", "sweep"])
def test_scripts_start(name: str) -> None:
    assert callable(script(name).main)


@pytest.mark.slow
def test_diagnostics_script_measures_the_cost() -> None:
    small = {"num_envs": 8, "num_steps": 64, "num_minibatches": 4, "num_epochs": 1}
    found = script("diagnostics").measurement("nature-norm", "float32", "cpu", 1, **small)
    assert found["rows"] > 8
    assert 0 < found["share"] < 1
    assert found["interval_seconds"] > found["measurement_seconds"]


@pytest.mark.slow
def test_run_script_times_a_run() -> None:
    small = "--num-envs 4 --num-test-envs 0 --num-steps 16 --num-minibatches 2 --encoder nature --frames 1024"
    found = script("on_cuda").whole_run(*small.split(), "--device", "cpu", "--threads", "1", "--log-every", "256")
    assert found["frames"] == 1024
    assert 0 < found["minutes of training"] < found["minutes"] < 2
    assert 0.5 < found["environment"] + found["inference"] + found["learning"] < 1.01
