"""A trained run, and the agent exported from it."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from tests.runs.runs import CARTPOLE, hadamax, make


@pytest.fixture(scope="module")
def trained_cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small run with two checkpoints."""
    path = tmp_path_factory.mktemp("trained") / "run"
    with closing(make(path, CARTPOLE, frames=256, checkpoint_every=128)) as loop:
        assert loop.train()
    return path


@pytest.fixture
def run(trained_cartpole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_cartpole, tmp_path / "run"))


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    assert hadamax("export", run, "--out", tmp_path / "agent").code == 0
    return tmp_path / "agent"
