"""Real PQN runs on MinAtar, small enough for a test: the variants of HR's figures with two seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runs.runs import make

from hadamax.runs import diagnostics

VARIANTS = {
    "relu": {},
    "relu-hr": {"branches": 2},
    "tanh": {"activation": "tanh"},
    "tanh-hr": {"activation": "tanh", "branches": 2},
    "sigmoid": {"activation": "sigmoid"},
    "sigmoid-hr": {"activation": "sigmoid", "branches": 2},
}
SEEDS = (1, 2)
GAME = "MinAtar/Breakout-v1"
SETTINGS = {
    "env": GAME,
    "encoder": "minatar",
    "layers": "last",
    "norm": "none",
    "features": 24,
    "num_envs": 8,
    "num_test_envs": 0,
    "num_steps": 16,
    "num_minibatches": 2,
    "frames": 1024,
    "threads": 1,
    "device": "cpu",
    "precision": "float32",
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of finished runs VARIANT/GAME/seed-N with four measurements and checkpoints each."""
    pytest.importorskip("minatar")
    root = tmp_path_factory.mktemp("papers") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "OBSERVATIONS", 64)
        for variant, own in VARIANTS.items():
            for seed in SEEDS:
                out = root / variant / GAME.replace("/", "-") / f"seed-{seed}"
                every = {"log_every": 128, "diagnostics_every": 256, "checkpoint_every": 512}
                loop = make(out, {**SETTINGS, **own}, lambda line: None, seed=seed, **every)
                assert loop.train()
                loop.close()
    return root
