"""`--preset`, `--sample` and head settings on the command line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runs.runs import CARTPOLE, flags, hadamax

import hadamax as library
from hadamax.cli.console import parse
from hadamax.cli.train import _with_config, _with_preset
from hadamax.runs.settings import settings_type
from hadamax.runs.setup import start

PPO = {"env": "CartPole-v1", "encoder": "mlp", "features": 16, "num_envs": 4, "num_steps": 16, "num_minibatches": 2}


def read(algorithm: str, *arguments: str) -> Any:
    """Parse arguments of `hadamax train` into settings."""
    given = _with_preset(_with_config(list(arguments), algorithm), algorithm)
    return parse(settings_type(algorithm), given, "test")


def test_preset_strongest_sets_the_head() -> None:
    settings = read("pqn", "--preset", "strongest", "--env", "Pong")
    assert settings.network.encoder == "hadamax-deep"
    head = settings.algorithm
    assert (head.dueling, head.hl_gauss, head.ensemble) == (True, True, 10)
    assert (head.bins, head.v_min, head.v_max, head.bin_sigma, head.mask_probability) == (51, -10, 10, 0.75, 1)


def test_explicit_settings_override_a_preset(tmp_path: Path) -> None:
    settings = read("pqn", "--ensemble=3", "--preset=strongest", "--no-dueling")
    assert (settings.algorithm.ensemble, settings.algorithm.dueling, settings.algorithm.hl_gauss) == (3, False, True)
    (tmp_path / "file.toml").write_text("ensemble = 4\nencoder = 'nature'")
    settings = read("pqn", "--config", str(tmp_path / "file.toml"), "--preset", "strongest")
    assert (settings.algorithm.ensemble, settings.network.encoder, settings.algorithm.hl_gauss) == (4, "nature", True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("pqn", "--preset", "strngest"),
            "preset: 'strngest' is unknown; did you mean 'strongest'? expected one of strongest",
        ),
        (("pqn", "--preset"), "preset: none given; expected --preset NAME"),
        (("ppo", "--preset", "strongest"), "preset: 'strongest' is unknown; ppo has none"),
    ],
)
def test_unknown_preset_is_an_error(arguments: tuple[str, ...], line: str) -> None:
    assert hadamax("train", *arguments).refusal == line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"branches": 0}, "branches must be 1 or more, not 0"),
        ({"activation": ("crelu", "tanh"), "branches": 2}, "mixes crelu, twice as wide, with others"),
        ({"activation": "rleu"}, 'activation "rleu" is unknown; did you mean "relu"?'),
        ({"match_parameters": 5}, "parameters 5 cannot be matched by width; expected "),
        ({"bins": 1}, "bins: 1 is out of range; expected 2 or more"),
        ({"v_min": 3, "v_max": 3}, "v_min: 3.0 is not below v_max = 3.0"),
    ],
)
def test_invalid_settings_are_one_line_errors(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    assert words in hadamax(*flags(tmp_path / "run", CARTPOLE, frames=640, **settings)).refusal
    assert not (tmp_path / "run").exists()


def test_ppo_agent_samples_from_its_policy(tmp_path: Path) -> None:
    run = tmp_path / "run"
    common = [f"--{name.replace('_', '-')}={value}" for name, value in PPO.items()]
    machine = ["--threads=1", "--device=cpu", "--precision=float32", "--frames=256", f"--out={run}"]
    loop = start("ppo", read("ppo", *common, *machine), print)
    with closing(loop):
        assert loop.train()
    agent = library.load(run)
    observations = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    scores = agent.q_values(observations)
    np.testing.assert_allclose(scores.exp().sum(1), 1, rtol=1e-5)
    greedy = agent.act(observations)
    assert np.array_equal(greedy, scores.argmax(1).numpy())
    sampled = agent.act(observations, sample=True)
    assert 0.2 < np.mean(sampled != greedy) < 0.6  # nearly uniform after 256 frames
    result = hadamax("evaluate", run, "--episodes", 2, "--sample", "--max-episode-frames", 100)
    assert result.code == 0, result


def test_sampling_from_q_values_is_an_error(tmp_path: Path) -> None:
    assert hadamax(*flags(tmp_path / "run", CARTPOLE, frames=64)).code == 0
    refusal = hadamax("evaluate", tmp_path / "run", "--sample").refusal
    assert refusal == "sample: pqn has no policy to draw from; expected greedy, or an epsilon above 0"
    with pytest.raises(ValueError, match="sample: actions cannot be drawn from a Q-value"):
        library.load(tmp_path / "run").act(np.zeros((1, 4), np.float32), sample=True)
