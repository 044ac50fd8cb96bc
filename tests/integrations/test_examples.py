"""Every example runs at small size against the real libraries."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.end_to_end

EXAMPLES = Path(__file__).parents[2] / "examples"
PUBLIC = {"hadamax", "hadamax.functional", "hadamax.networks"}


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module here
    spec.loader.exec_module(module)
    return module


def differs(network: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    return all(not torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("name", ["pqn_single_file", "ppo_single_file"])
def test_single_file_examples_import_public_names_only(name: str) -> None:
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    ours = {module for module in modules if module and module.startswith("hadamax")}
    assert ours
    assert ours <= PUBLIC


def test_pqn_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pqn = example("pqn_single_file")
    small = {"encoder": "nature-norm", "num_envs": 2, "num_steps": 8, "num_minibatches": 2}
    twice = [pqn.main(pqn.Settings(frames=frames, **small)) for frames in (64, 64, 128)]
    assert not differs(twice[0], twice[1]), "the same seed gives the same run"
    assert differs(twice[0], twice[2]), "an iteration more changes every weight"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["frames 64", "frames 64", "frames 64", "frames 128"]


def test_ppo_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    ppo = example("ppo_single_file")
    small: dict[str, Any] = {"num_envs": 2, "num_steps": 8, "num_minibatches": 2, "num_epochs": 2}
    runs = [ppo.main(ppo.Settings(frames=frames, **small)) for frames in (64, 128)]
    assert differs(*runs)
    assert all(torch.isfinite(p).all() for p in runs[1].parameters())
    assert "frames 128" in capsys.readouterr().out


def test_ppo_example_advantages_are_gae() -> None:
    """Lambda-return minus value equals the sum of discounted errors (arXiv 1506.02438, equation 16)."""
    from hadamax.functional import lambda_returns

    rng = np.random.default_rng(0)
    steps, gamma, lambda_ = 6, 0.9, 0.8
    rewards, values, final = rng.normal(size=steps), rng.normal(size=steps + 1), rng.normal()
    terminated, truncated = np.zeros(steps, bool), np.zeros(steps, bool)
    terminated[1], truncated[3] = True, True
    following = values[1:].copy()
    following[3] = final
    errors = rewards + gamma * np.where(terminated, 0, following) - values[:-1]
    expected = np.zeros(steps)
    for t in range(steps):
        for k in range(t, steps):
            expected[t] += (gamma * lambda_) ** (k - t) * errors[k]
            if terminated[k] or truncated[k]:
                break
    rows = (torch.from_numpy(x)[:, None] for x in (rewards, following, terminated, truncated))
    ours = lambda_returns(*rows, gamma=gamma, lambda_=lambda_)[:, 0].numpy() - values[:-1]
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.extra("sb3")
def test_sb3_dqn_example_runs(tmp_path: Path) -> None:
    sb3 = example("sb3_dqn")
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_checker import check_env
    from stable_baselines3.common.env_util import make_atari_env

    out = str(tmp_path / "model.zip")
    small = sb3.Settings(encoder="hadamax-fast", total_timesteps=24, buffer_size=100, learning_starts=16, out=out)
    model = sb3.main(small)
    assert model._n_updates > 0
    again = DQN.load(out, device="cpu")
    seen = model.get_env().reset()
    assert seen.shape == (1, 4, 84, 84)
    assert np.array_equal(model.predict(seen, deterministic=True)[0], again.predict(seen, deterministic=True)[0])
    check_env(make_atari_env(small.env, env_kwargs={"frameskip": 1}).envs[0])


@pytest.mark.extra("flax")
def test_flax_encoder_example_runs(tmp_path: Path) -> None:
    flax = example("flax_encoder")
    from hadamax import build_encoder
    from hadamax.integrations.flax_weights import save
    from hadamax.networks import QNetwork

    start, out = str(tmp_path / "start.safetensors"), str(tmp_path / "out.safetensors")
    save(start, QNetwork(build_encoder("nature-norm"), 6).state_dict())
    assert flax.main(flax.Settings(encoder="nature-norm", weights=start, out=out)) < 1e-5
    assert Path(out).stat().st_size > 6_000_000


@pytest.mark.extra("torchrl")
def test_torchrl_dqn_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    torchrl = example("torchrl_dqn")
    small = torchrl.Settings(encoder="hadamax-fast", frames=4 * 24, buffer_size=50, learning_starts=16, batch=4)
    losses = torchrl.main(small)
    assert len(losses) == 3, "an update for every four steps from the sixteenth on"
    assert all(np.isfinite(losses))
    assert losses[0] != losses[-1]
    assert "frames 64  loss" in capsys.readouterr().out


@pytest.mark.extra("sb3")
def test_sb3_diagnostics_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    sb3 = example("sb3_diagnostics")
    small = sb3.Settings(total_timesteps=24, every=12, observations=24, buffer_size=50, learning_starts=8)
    health = sb3.main(small)
    assert [layer.units for layer in health] == [32, 64, 64, 512], "the library's own Nature network"
    assert all(0 < layer.effective_rank <= min(layer.units, layer.samples) for layer in health)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("       12  features_extractor") for line in lines) == 4


@pytest.mark.extra("flax")
def test_flax_diagnostics_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    flax = example("flax_diagnostics")
    saturated, ours = flax.main(flax.Settings(batch=16))
    assert [layer.layer for layer in saturated] == ["hidden"]
    assert saturated[0].saturated > 0.5
    assert [layer.layer for layer in ours] == [*(f"encoder.blocks.{i}" for i in range(3)), "encoder.dense.0"]
    assert "activations are saturated" in capsys.readouterr().out
