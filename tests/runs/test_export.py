"""`hadamax export`: the folder acts as the run does, needs no training code, and is complete or absent."""

from __future__ import annotations

import errno
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.runs.runs import BREAKOUT, CARTPOLE, checkpoint, contents, flags, hadamax

import hadamax as library
from hadamax import files
from hadamax.agents import export
from hadamax.cli.console import parse
from hadamax.errors import UserError
from hadamax.runs.loop import Loop
from hadamax.runs.settings import settings_type
from hadamax.runs.setup import start

pytestmark = pytest.mark.end_to_end

FILES = ["README.md", "config.json", "curve.png", "loader.py", "model.safetensors", "run.toml"]
MINATAR = {**CARTPOLE, "env": "MinAtar/Breakout-v1", "encoder": "hadamax-minatar", "branches": 2, "num_test_envs": 0}
OFF_POLICY = {
    "env": "CartPole-v1",
    "encoder": "mlp",
    "features": 16,
    "num_envs": 2,
    "replay_size": 100,
    "batch_size": 4,
    "learning_starts": 40,
    "iteration_steps": 16,
    "threads": 1,
    "device": "cpu",
    "precision": "float32",
}
RUNS: dict[str, dict[str, Any]] = {
    "pqn-atari": {**BREAKOUT, "frames": 256},
    "pqn-bfloat16": {**BREAKOUT, "frames": 256, "precision": "bfloat16", "encoder": "hadamax", "width": 0.0625},
    "pqn-heads": {**CARTPOLE, "frames": 128, "dueling": True, "hl_gauss": True, "ensemble": 3, "bins": 11},
    "pqn-minatar": {
        **MINATAR,
        "frames": 128,
        "branches": 2,
        "activation": ("tanh", "sigmoid"),
        "match_parameters": 40_000,
    },
    "ppo": {**CARTPOLE, "algorithm": "ppo", "frames": 128, "num_test_envs": 0, "activation": "crelu"},
    "dqn": {**OFF_POLICY, "algorithm": "dqn", "frames": 128},
    "c51": {**OFF_POLICY, "algorithm": "c51", "frames": 128, "num_atoms": 7},
    "rainbow": {**OFF_POLICY, "algorithm": "rainbow", "frames": 128, "branches": 2},
}


# -- it plays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_exported_agent_acts_as_the_run(name: str, tmp_path: Path) -> None:
    if "minatar" in name:
        pytest.importorskip("minatar", reason="needs the extra: pip install 'hadamax-rl[minatar]'")
    path, out = tmp_path / "run", tmp_path / "agent"
    loop = made(path, RUNS[name])
    with closing(loop):
        assert loop.train()
    written = hadamax("export", path, "--out", out)
    assert written.code == 0, written
    assert sorted(p.name for p in out.iterdir()) == FILES
    shutil.move(path, tmp_path / "gone")  # the folder is self-contained
    agent, expected = library.load(out), library.load(tmp_path / "gone")
    shape = expected.network.state_dict()
    assert (agent.frame, agent.precision) == (expected.frame, expected.precision)
    assert agent.action_names == expected.action_names == tuple(loop.algorithm.environment.action_names)
    assert agent.network.state_dict().keys() == shape.keys()
    observations = some(loop.algorithm.environment)
    assert torch.equal(agent.q_values(observations), expected.q_values(observations))
    assert np.array_equal(agent.act(observations), expected.act(observations))
    act = runpy.run_path(str(out / "loader.py"))["load"]()
    assert np.array_equal(act(torch.from_numpy(observations)).numpy(), expected.act(observations))


def made(path: Path, settings: dict[str, Any]) -> Loop:
    """Create a run with switches among its settings."""
    _, algorithm, *rest = flags(path, {k: v for k, v in settings.items() if v is not True})
    rest += [f"--{name.replace('_', '-')}" for name, value in settings.items() if value is True]
    return start(algorithm, parse(settings_type(algorithm), rest, "test"), print)


def some(environment: Any, number: int = 50) -> np.ndarray:
    """Return observations of the environment's type."""
    generator, shape = np.random.default_rng(0), (number, *environment.observation_shape)
    if environment.observation_dtype == np.uint8:
        most = 256 if environment.input_scale == 255.0 else 2
        return generator.integers(0, most, shape).astype(np.uint8)
    return generator.normal(size=shape).astype(np.float32)


def test_loader_imports_no_training_code(exported: Path) -> None:
    code = (
        "import sys, torch; from loader import load; print(load()(torch.zeros(2, 4)).tolist()); "
        "print([m for m in sys.modules if m.startswith(('hadamax.runs.loop', 'hadamax.algorithms.pqn', 'gymnasium', "
        "'hadamax.environments', 'ale_py', 'scipy', 'matplotlib', 'tensorboard'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=exported, capture_output=True, text=True, check=True)
    actions, imported = done.stdout.splitlines()
    assert json.loads(actions) == library.load(exported).act(np.zeros((2, 4), np.float32)).tolist()
    assert imported == "[]"


def test_export_of_another_checkpoint(run: Path, tmp_path: Path) -> None:
    assert hadamax("export", run, "--out", tmp_path / "agent", "--checkpoint", "128").code == 0
    assert library.load(tmp_path / "agent").frame == 128
    ours, theirs = library.load(tmp_path / "agent").network, library.load(run, "128").network
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)
    with pytest.raises(
        UserError, match=r"checkpoint: '256' of .* does not exist; an exported agent has one checkpoint"
    ):
        library.load(tmp_path / "agent", "256")


def test_loading_keeps_the_random_state(exported: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    library.load(exported)
    assert torch.equal(torch.rand(3), expected)


# -- whole or not there ---------------------------------------------------------------------------------------------


def test_export_overwrites_nothing(exported: Path, run: Path, tmp_path: Path) -> None:
    before = contents(exported)
    line = hadamax("export", run, "--out", exported).refusal
    assert line == f"out: {exported} exists and nothing is overwritten; choose another folder"
    assert contents(exported) == before
    (tmp_path / "file").write_text("mine")
    assert "nothing is overwritten" in hadamax("export", run, "--out", tmp_path / "file").refusal
    assert (tmp_path / "file").read_text() == "mine"
    assert "cannot be written" in hadamax("export", run, "--out", tmp_path / "file" / "agent").refusal
    (tmp_path / "empty").mkdir()
    assert hadamax("export", run, "--out", tmp_path / "empty").code == 0


@pytest.mark.parametrize("after", range(5))
def test_full_disk_leaves_no_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    write, left = files.write_flushed, [after]

    def full(path: Path, data: bytes) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        write(path, data)

    monkeypatch.setattr(export, "write_flushed", full)
    before = sorted(tmp_path.iterdir())
    assert "cannot be written: No space left on device" in hadamax("export", run, "--out", tmp_path / "agent").refusal
    assert sorted(tmp_path.iterdir()) == before


def test_killed_export_leaves_no_folder(run: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from hadamax import cli; from hadamax.agents import export; "
        "os.rename = lambda *_: os._exit(9); sys.exit(cli.main(sys.argv[1:]))"
    )
    arguments = ("export", str(run), "--out", str(tmp_path / "agent"))
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    assert not (tmp_path / "agent").exists()
    (left,) = tmp_path.glob(".writing-agent-*")
    assert hadamax("export", run, "--out", tmp_path / "agent").code == 0
    assert sorted(p.name for p in left.iterdir()) == FILES


# -- what cannot be ---------------------------------------------------------------------------------------------------


def test_unexportable_runs_are_one_line_errors(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "agent"

    def refusal(*options: object) -> str:
        line = hadamax("export", run, "--out", out, *options).refusal
        assert not out.exists()
        return line

    assert "is not a run's folder" in hadamax("export", tmp_path, "--out", out).refusal
    assert "out" in hadamax("export", run).refusal
    assert "checkpoint: '7' of" in (line := refusal("--checkpoint", "7"))
    assert "expected latest, best, 128, 256" in line
    config = run / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("features = 16", "features = 17"))
    assert refusal() == (
        f"checkpoint: frame 256 of {run} holds another architecture's weights than config.toml describes"
    )
    config.write_text(text)
    for frame in (128, 256):
        (checkpoint(run, frame) / "weights.safetensors").write_bytes(b"")
    assert "weights.safetensors is damaged" in refusal("--checkpoint", "128")
    left = hadamax("export", run, "--out", out)
    assert left.code == 2
    assert "checkpoint: 'latest'" in left.err.splitlines()[-1]
    assert not out.exists()
    shutil.rmtree(run / "checkpoints")
    assert "expected none yet; train it first" in refusal()


# -- the card ---------------------------------------------------------------------------------------------------------


def front_matter(card: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    _, block, _ = card.split("---\n", 2)
    return dict(yaml.safe_load(block))


def test_model_card_has_the_scores_of_the_exported_weights(run: Path, tmp_path: Path) -> None:
    assert hadamax("evaluate", run, "--episodes", 5, "--baselines").code == 0
    assert hadamax("export", run, "--out", tmp_path / "agent").code == 0
    card, report = (tmp_path / "agent/README.md").read_text(), json.loads((run / "evaluation.json").read_text())
    agent = report["agent"]
    low, high = agent["ci95"]
    assert f"| this agent | {agent['mean']:,.1f} | {low:,.1f} to {high:,.1f} | {agent['sd']:,.1f} |" in card
    assert f"protocol fingerprint `{report['fingerprint']}`" in card
    assert "![Learning curve](curve.png)" in card
    assert (tmp_path / "agent/curve.png").read_bytes().startswith(b"\x89PNG")
    front = front_matter(card)
    assert front["library_name"] == "hadamax"
    assert "CartPole-v1" in front["tags"]
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == f"{agent['mean']:.2f} +/- {agent['sd']:.2f}"
    # An evaluation of other weights is not shown.
    assert hadamax("export", run, "--out", tmp_path / "other", "--checkpoint", "128").code == 0
    other = (tmp_path / "other/README.md").read_text()
    assert "Not evaluated" in other
    assert "model-index" not in front_matter(other)


def test_code_of_the_model_card_runs(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = (exported / "README.md").read_text()
    first, game = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"observations": np.zeros((3, 4), np.float32)}
    exec(first.replace("FOLDER", str(exported)), names)
    assert names["actions"].shape == (3,)
    exec(game.replace("FOLDER", str(exported)), {})
    assert 1 <= float(capsys.readouterr().out) <= 500


def test_exported_settings_repeat_the_run(run: Path, exported: Path, tmp_path: Path) -> None:
    text = (exported / "run.toml").read_text()
    assert str(run) not in "".join((exported / name).read_text() for name in FILES if name.endswith(("md", "n", "l")))
    done = hadamax("train", "pqn", "--config", exported / "run.toml", "--out", tmp_path / "again")
    assert done.code == 0, text
    again = checkpoint(tmp_path / "again", 256) / "weights.safetensors"
    assert again.read_bytes() == (checkpoint(run, 256) / "weights.safetensors").read_bytes()
