"""What is imported, and when: nothing that was not asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hadamax

HEAVY = ("scipy", "matplotlib", "tensorboard", "gymnasium", "ale_py", "minatar", "pandas", "triton", "torch._dynamo")
FRAMEWORKS = ("jax", "flax", "stable_baselines3", "torchrl", "ray", "wandb")


def imported(code: str) -> set[str]:
    """Return the modules of a fresh process after `code`."""
    code = f"{code}\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("code", "not_even"),
    [
        ("import hadamax.cli", ("importlib.metadata",)),  # Ctrl-C is not handled before this import
        ("import hadamax", ("torch", "numpy", "tyro", "rich")),
        ("from hadamax.cli import main; main(['--version'])", ("torch", "numpy", "tyro", "rich")),
        ("from hadamax.cli import main; main(['--help'])", ("torch", "numpy", "tyro", "rich")),
        ("from hadamax import HadamardLinear, build_encoder", ("tyro", "rich", "hadamax.runs.loop")),
        ("import hadamax; hadamax.networks.QNetwork; hadamax.functional.lambda_returns", ("tyro", "hadamax.runs.loop")),
        ("import hadamax.diagnostics", ("tyro", "rich", "hadamax.runs.loop")),
        ("from hadamax import load", ("tyro", "rich", "hadamax.runs.loop", "hadamax.algorithms.pqn")),
        ("from hadamax.environments import EnvironmentSettings", ("tyro", "hadamax.runs.loop")),
        ("import hadamax.agents.loading", ("tyro",)),
        ("import hadamax.cli.train", ()),
    ],
)
def test_nothing_that_was_not_asked_for(code: str, not_even: tuple[str, ...]) -> None:
    found = imported(code)
    assert "hadamax" in found
    assert not found & {*HEAVY, *FRAMEWORKS, *not_even}


def test_every_public_name_is_there_and_listed() -> None:
    assert set(hadamax.__all__) <= set(dir(hadamax))
    for name in hadamax.__all__:
        assert getattr(hadamax, name) is not None
    with pytest.raises(AttributeError, match="module 'hadamax' has no attribute 'encoder'"):
        _ = hadamax.encoder
    with pytest.raises(ImportError):
        exec("from hadamax import encoder")
