"""Measurements during training: correct numbers at the right frames, without an effect on the learner."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.runs.runs import (
    BREAKOUT,
    CARTPOLE,
    checkpoint,
    frames,
    kill_after,
    make,
    outcome,
    resumed,
    run_to_the_end,
    same,
    train,
)
from tests.runs.test_logs import scalars

from hadamax.agents.loading import load
from hadamax.algorithms import ALGORITHMS
from hadamax.diagnostics import effective_rank, feature_norm, kde_peak_density
from hadamax.environments import play as playing
from hadamax.environments.play import play_observations, random_policy
from hadamax.runs import diagnostics
from hadamax.runs.logs import read_csv

pytestmark = pytest.mark.end_to_end

LENGTH = {"frames": 1280, "log_every": 256, "checkpoint_every": 320}  # of 64-frame iterations
LAYERS = ["encoder.dense.0", "encoder.dense.1"]
HADAMARD = {**CARTPOLE, "activation": "tanh", "branches": 2}


@pytest.fixture(autouse=True)
def few_observations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "OBSERVATIONS", 64)


@pytest.mark.parametrize(
    "game", [HADAMARD, pytest.param({**BREAKOUT, "frames": 640}, marks=pytest.mark.slow)], ids=["cartpole", "breakout"]
)
def test_measurements_do_not_change_training(tmp_path: Path, game: dict[str, Any]) -> None:
    settings = {**LENGTH, **game}
    off = run_to_the_end(tmp_path / "off", settings, diagnostics_every=0)
    on = run_to_the_end(tmp_path / "on", settings, diagnostics_every=200)
    assert off["diagnostics"] == b""
    assert len(on["diagnostics"].splitlines()) > 6
    same({**off, "diagnostics": on["diagnostics"]}, on)


def test_measured_frames_layers_and_parts(tmp_path: Path) -> None:
    """The first iteration that ends at or after each multiple."""
    run = tmp_path / "run"
    run_to_the_end(run, {**HADAMARD, **LENGTH}, diagnostics_every=500)
    rows = read_csv(run / "diagnostics.csv")
    assert tuple(rows[0]) == diagnostics.COLUMNS
    assert sorted({int(row["frame"]) for row in rows}) == [512, 1024]
    found = [(row["observations"], row["layer"], row["part"]) for row in rows if row["frame"] == "512"]
    parts = ["branch 1", "branch 2", "output"]
    assert found == [
        *((kind, layer, part) for kind in ("fixed", "fresh") for layer in LAYERS for part in parts),
        *(("", layer, "weights") for layer in (*LAYERS, "head")),
        ("fixed", "(network)", "weights"),
    ]
    board = scalars(run)
    tags = {tag for tag in board if tag.startswith("diagnostics/")}
    assert "diagnostics/dead_kde/fixed/encoder.dense.1 branch 2" in tags
    assert "diagnostics/update_ratio/head" in tags
    for row in rows:
        if (row["layer"], row["part"], row["observations"]) == (LAYERS[1], "output", "fresh"):
            assert (int(row["frame"]), pytest.approx(float(row["effective_rank"]))) in board[
                f"diagnostics/effective_rank/fresh/{LAYERS[1]}"
            ]


def test_measurements_equal_those_of_the_checkpoints(tmp_path: Path) -> None:
    """Against checkpoints of the measured frame and the iteration before, on the run's observations."""
    run = tmp_path / "run"
    seen: dict[int, torch.Tensor] = {}
    settings = {**HADAMARD, **LENGTH, "frames": 640, "keep_checkpoints_at": (448, 512)}
    with closing(make(run, settings, diagnostics_every=512)) as loop:
        iteration = loop.algorithm.iteration

        def spy() -> Any:
            result = iteration()
            seen[loop.algorithm.frames] = loop.algorithm.rollout.observations.flatten(0, 1).clone()
            gradients[loop.algorithm.frames] = [p.grad.clone() for p in loop.algorithm.network.parameters()]
            return result

        gradients: dict[int, list[torch.Tensor]] = {}
        loop.algorithm.iteration = spy  # type: ignore[method-assign]
        assert loop.train()
        fixed = loop.diagnostics.fixed()
    rows = {(row["observations"], row["layer"], row["part"]): row for row in read_csv(run / "diagnostics.csv")}
    before, after = (load_file(checkpoint(run, frame) / "weights.safetensors") for frame in (448, 512))
    agents = [load(run, str(frame), device="cpu") for frame in (448, 512)]

    def numbers(key: tuple[str, str, str]) -> dict[str, float]:
        return {name: float(value) for name, value in rows[key].items() if re.fullmatch(r"-?[\d.]+(e-?\d+)?", value)}

    features = agents[1].network.encoder(fixed).detach()
    output = numbers(("fixed", LAYERS[1], "output"))
    assert output["effective_rank"] == effective_rank(features)
    assert output["feature_norm"] == pytest.approx(feature_norm(features), rel=1e-6)
    assert output["samples"] == len(features) == 64
    dead = kde_peak_density(features, generator=torch.Generator().manual_seed(1)) >= 20
    assert output["dead_kde"] == pytest.approx(float(dead.float().mean()), abs=1e-6)
    parts = after["head.weight"].mean(dim=0) * features.mean(dim=0)
    assert output["output_live"] == pytest.approx(float(parts[~dead].sum()), rel=1e-5, abs=1e-7)
    assert output["output_dead"] == pytest.approx(float(parts[dead].sum()), rel=1e-5, abs=1e-7)
    assert output["saturated"] == pytest.approx(float((features.abs() >= 0.98).float().mean()), abs=1e-6)
    fresh = agents[1].network.encoder(seen[512]).detach()
    assert numbers(("fresh", LAYERS[1], "output"))["feature_norm"] == pytest.approx(feature_norm(fresh), rel=1e-5)
    head = numbers(("", "head", "weights"))
    size = torch.cat([before[f"head.{n}"].flatten() for n in ("weight", "bias")])
    moved = torch.cat([after[f"head.{n}"].flatten() for n in ("weight", "bias")])
    assert head["weight_norm"] == pytest.approx(float(moved.norm()), rel=1e-5)
    assert head["update_ratio"] == pytest.approx(float((moved - size).norm() / size.norm()), rel=1e-4)
    whole = numbers(("fixed", "(network)", "weights"))
    assert whole["gradient_norm"] == pytest.approx(float(torch.cat([g.flatten() for g in gradients[512]]).norm()))
    actions = [agent.act(fixed) for agent in agents]
    assert whole["churn"] == pytest.approx(float((actions[0] != actions[1]).mean()), abs=1e-6)


@pytest.mark.parametrize(("frames", "every", "measured"), [(1300, 650, [704, 1280]), (1300, 640, [640, 1280])])
def test_last_multiple_is_measured_at_the_end(tmp_path: Path, frames: int, every: int, measured: list[int]) -> None:
    """1,300 frames are 20 iterations of 64; the last multiple is measured where the run ends."""
    run_to_the_end(tmp_path / "run", {**HADAMARD, **LENGTH, "frames": frames}, diagnostics_every=every)
    rows = read_csv(tmp_path / "run" / "diagnostics.csv")
    assert sorted({int(row["frame"]) for row in rows}) == measured


def test_killed_run_has_the_same_rows(tmp_path: Path) -> None:
    settings = {**HADAMARD, **LENGTH, "diagnostics_every": 192}
    whole = run_to_the_end(tmp_path / "whole", settings)
    run = tmp_path / "run"
    for number, iterations in enumerate([3, 7, 0, 4]):  # at a measurement, after others, between two
        with resumed(run) if number else closing(make(run, settings)) as loop:
            kill_after(loop, iterations)
        with open(run / "diagnostics.csv", "a") as file:
            file.write("9999,fixed,half a r")
    with resumed(run) as loop:
        assert loop.train()
    same(whole, outcome(run))


def test_run_without_diagnostics_settings_resumes(tmp_path: Path) -> None:
    """Old checkpoints and settings lack diagnostics: the run resumes and is measured from then on."""
    run = tmp_path / "run"
    with closing(make(run, {**HADAMARD, **LENGTH}, diagnostics_every=0)) as loop:
        kill_after(loop, 7)
    (last,) = frames(run)
    manifest = checkpoint(run, last) / "checkpoint.json"
    content = json.loads(manifest.read_text())
    del content["about"]["diagnostics_bytes"], content["sha256"]["checkpoint.json"]
    manifest.write_text(json.dumps(content))
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(re.sub("diagnostics_every = 0\n", "", config))
    (run / "diagnostics.csv").unlink()
    with resumed(run) as loop:
        assert loop.settings.diagnostics_every == 1_000_000
        loop.diagnostics.every = 512
        assert loop.train()
    assert {row["frame"] for row in read_csv(run / "diagnostics.csv")} == {"512", "1024"}


def test_share_of_time_is_printed(tmp_path: Path) -> None:
    result = train(tmp_path / "run", {**HADAMARD, **LENGTH}, diagnostics_every=512)
    line = next(line for line in result.out.splitlines() if line.startswith("diagnostics: "))
    found = re.fullmatch(r"diagnostics: (.*), ([\d.]+)% of the time; next: hadamax diagnose (.*)", line)
    assert found, line
    assert found[1] == str(tmp_path / "run" / "diagnostics.csv")
    assert 0 < float(found[2]) < 100
    result = train(tmp_path / "other", {**HADAMARD, **LENGTH}, diagnostics_every=0)
    assert "diagnostics" not in result.out


def test_training_mode_is_kept(tmp_path: Path) -> None:
    with closing(make(tmp_path / "run", {**HADAMARD, **LENGTH}, diagnostics_every=64)) as loop:
        network = loop.algorithm.network
        network.train()
        network.encoder.dense[0].eval()
        modes = [module.training for module in network.modules()]
        loop.diagnostics.before_iteration()
        loop.algorithm.iteration()
        assert loop.diagnostics.after_iteration()
        assert [module.training for module in network.modules()] == modes
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_nonfinite_activations_do_not_stop_a_run(tmp_path: Path) -> None:
    said: list[str] = []
    with closing(make(tmp_path / "run", {**HADAMARD, **LENGTH}, said.append, diagnostics_every=64)) as loop:
        loop.diagnostics._fixed = torch.full((64, 4), float("inf"))
        loop.diagnostics.before_iteration()
        loop.algorithm.iteration()
        assert loop.diagnostics.after_iteration() == []
    (line,) = said
    assert line.startswith("diagnostics: frame 64 is not measured: layer encoder.dense.0")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_measured(name: str) -> None:
    assert callable(getattr(ALGORITHMS[name].build, "recent_observations", None))


def test_fixed_observations_come_from_separate_games(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "GAMES", 3)
    from hadamax.environments import EnvironmentSettings

    settings = EnvironmentSettings(env="CartPole-v1").resolved()

    def play(seed: int, count: int = 20) -> np.ndarray[Any, Any]:
        return play_observations(random_policy(2, seed), settings, count, seed=seed, threads=1)

    first = play(5)
    assert first.shape == (20, 4)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, play(5))
    assert not np.array_equal(first, play(6))
    assert len(np.unique(first, axis=0)) == 20
    assert len(play(5, 3)) == 3
