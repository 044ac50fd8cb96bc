"""NaN or infinite losses and weights stop a run with one line and keep the last good checkpoint."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from tests.runs.runs import BREAKOUT, CARTPOLE, checkpoint, contents, frames, hadamax, kill_after, make, train

from hadamax.algorithms.pqn import PQN
from hadamax.runs.checkpoints import read

GAME = {**CARTPOLE, "frames": 640, "checkpoint_every": 128}


@pytest.mark.parametrize("game", [pytest.param(BREAKOUT, marks=pytest.mark.slow), CARTPOLE], ids=["pixels", "mlp"])
def test_huge_learning_rate_stops_the_run(tmp_path: Path, game: dict[str, object]) -> None:
    run = tmp_path / "run"
    settings = {**game, "learning_rate": 1e30, "frames": 5000, "checkpoint_every": 64}
    result = train(run, settings)
    assert result.code == 2, result
    line = result.err.splitlines()[-1]
    assert line.startswith("hadamax: ")
    assert "is not a finite number at frame " in line
    assert "training diverged and was stopped; " in line
    assert "try a smaller learning_rate" in line
    for frame in frames(run):  # written before the failure was detected, and still finite
        assert f"the last good checkpoint is {checkpoint(run, frames(run)[-1])}; " in line
        assert all(tensor.isfinite().all() for tensor in read(checkpoint(run, frame)).weights.values())
    if not frames(run):
        assert "there is no checkpoint yet" in line


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["a weight", "the loss"])
def test_last_good_checkpoint_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, value: float
) -> None:
    run = tmp_path / "run"
    with closing(make(run, GAME)) as loop:
        kill_after(loop, 5)
    before = contents(run / "checkpoints")
    update = PQN.update

    def diverge(self: PQN, targets: torch.Tensor) -> dict[str, float]:
        metrics = update(self, targets)
        if where == "the loss":
            return {**metrics, "loss": value}
        with torch.no_grad():
            self.network.head.bias[1] = value
        return metrics

    monkeypatch.setattr(PQN, "update", diverge)
    result = hadamax("resume", run)
    assert result.code == 2
    name = "loss" if where == "the loss" else "head.bias"
    assert result.err.splitlines()[1:] == [
        f"hadamax: {name} is not a finite number at frame 320: training diverged and was stopped; the last good "
        f"checkpoint is {checkpoint(run, 256)}; try a smaller learning_rate or precision float32"
    ]
    assert contents(run / "checkpoints") == before
    monkeypatch.undo()
    assert hadamax("resume", run).code == 0
