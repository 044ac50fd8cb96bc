"""Settings from a TOML file, the command line and an existing run, and `--help`."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.runs.runs import BREAKOUT, CARTPOLE, flags, hadamax, outcome, run_to_the_end, same

from hadamax.algorithms import ALGORITHMS
from hadamax.cli.console import parse
from hadamax.cli.train import _with_config
from hadamax.environments import EnvironmentSettings
from hadamax.networks import ACTIVATIONS, ENCODERS
from hadamax.runs.settings import NetworkSettings, RunSettings, settings_type

GROUPS = (RunSettings, EnvironmentSettings, NetworkSettings, ALGORITHMS["pqn"].settings)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(toml: str, *arguments: str) -> Any:
    """Parse a settings file with additional arguments."""
    Path("file.toml").write_text(toml)
    return parse(settings_type("pqn"), _with_config(["--config", "file.toml", *arguments], "pqn"), "test")


FLAT = """
env = "Breakout"
frames = 1_000
seed = 7
max_minutes = 2
lr_decay = false
life_loss_terminal = false
reward_clipping = true
activation = ["tanh", "relu"]
keep_checkpoints_at = [100, 200]
norm = "none"
out = "runs/with space"
gamma = 0.5
"""
TABLES = FLAT.replace("seed", "[run]\nseed").replace("lr_decay", "[whatever]\nlr_decay")


@pytest.mark.parametrize("toml", [FLAT, TABLES], ids=["flat", "tables"])
def test_file_equals_command_line(toml: str) -> None:
    settings = read(toml)
    assert (settings.run.frames, settings.run.seed, settings.run.max_minutes) == (1000, 7, 2.0)
    assert settings.run.keep_checkpoints_at == (100, 200)
    assert settings.run.out == "runs/with space"
    assert settings.network.activation == ("tanh", "relu")
    assert settings.network.norm == "none"
    assert settings.environment.env == "Breakout"
    assert settings.environment.life_loss_terminal is False
    assert settings.environment.reward_clipping is True
    assert settings.environment.fire_on_reset is None
    assert settings.algorithm.lr_decay is False
    assert settings.algorithm.gamma == 0.5


def test_command_line_overrides_the_file(here: Path) -> None:
    given = ["--seed", "9", "--lr-decay", "--keep-checkpoints-at", "300", "--life-loss-terminal", "True"]
    settings = read(FLAT, *given)
    assert settings.run.seed == 9
    assert settings.algorithm.lr_decay is True
    assert settings.run.keep_checkpoints_at == (300,)
    assert settings.environment.life_loss_terminal is True
    assert settings.run.frames == 1000
    assert parse(settings_type("pqn"), _with_config(["--seed=3", "--config=file.toml"], "pqn"), "t").run.seed == 3


def test_empty_file_changes_nothing() -> None:
    assert read("") == parse(settings_type("pqn"), [], "test")


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("sead = 1", ["file.toml", "setting", "'sead'", "did you mean 'seed'?"]),
        ("[run]\nlearning-rate = 1", ["file.toml", "'learning-rate'", "did you mean 'learning_rate'?"]),
        ("seed = 'one'", ["file.toml", "seed", "'one'", "a whole number"]),
        ("seed = true", ["file.toml", "seed", "True", "a whole number"]),
        ("seed = [1, 2]", ["file.toml", "seed", "[1, 2]", "a whole number"]),
        ("frames = 1e6", ["file.toml", "frames", "1000000.0", "a whole number"]),
        ("lr_decay = 3", ["file.toml", "lr_decay", "3", "true or false"]),
        ("life_loss_terminal = 3", ["file.toml", "life_loss_terminal", "3", "true or false"]),
        ("activation = [1]", ["file.toml", "activation", "[1]", "a list of text"]),
        ("norm = 'batch'", ["file.toml", "norm", "'batch'", "channels, map, none"]),
        ("gamma = 2", ["gamma", "2.0", "0 to 1"]),
        ('out = "zero\\u0000byte"', ["out", "zero\\x00byte"]),
        ("[seed]\nx = 1", ["'x'"]),
        ("algorithm = 'rainbow'", ["file.toml", "algorithm", "'rainbow'", "'pqn'"]),
        ("format = 99", ["file.toml", "format", "99"]),
        ("seed = 1\nseed = 2", ["file.toml", "is not a TOML file"]),
        ("x = " + "[" * 10_000, ["file.toml", "is not a TOML file"]),
    ],
)
def test_invalid_file_is_a_one_line_error(here: Path, toml: str, words: list[str]) -> None:
    Path("file.toml").write_text(toml)
    short = flags("", CARTPOLE) if "frames" in toml else flags("", CARTPOLE, frames=64)
    refusal = hadamax("train", "pqn", "--config", "file.toml", *short[3:]).refusal
    for word in words:
        assert word in refusal
    assert [path.name for path in here.iterdir()] == ["file.toml"]


def test_binary_file_is_a_one_line_error() -> None:
    Path("file.toml").write_bytes(b"\xff\xfe\x00")
    assert "file.toml: is not a TOML file" in hadamax("train", "pqn", "--config", "file.toml").refusal


@pytest.mark.parametrize("game", [CARTPOLE, BREAKOUT], ids=["CartPole", "Breakout"])
def test_run_repeats_from_its_own_config(here: Path, game: dict[str, Any]) -> None:
    first = run_to_the_end(here / "first", game, frames=256)
    assert hadamax("train", "pqn", "--config", "first/config.toml", "--out", "second").code == 0
    same(first, outcome(here / "second"))
    configs = [tomllib.loads((here / name / "config.toml").read_text()) for name in ("first", "second")]
    assert configs[1]["run"].pop("out") == "second"
    del configs[0]["run"]["out"]
    assert configs[0] == configs[1]
    assert set(configs[0]) >= {"format", "protocol", "spaces", "versions", "run", "environment", "network", "pqn"}


def test_setting_names_are_unique() -> None:
    names = [field.name for group in GROUPS for field in fields(group)]
    assert len(names) == len(set(names))


def test_help_lists_every_setting_with_its_default() -> None:
    result = hadamax("train", "pqn", "--help")
    assert (result.code, result.err) == (0, "")
    text = " ".join(result.out.replace("│", " ").split())
    for group in GROUPS:
        for field in fields(group):
            flag = f"--{field.name.replace('_', '-')}"
            assert f"{flag} " in text or f"{flag}," in text, flag
            if isinstance(field.default, int | float | str) and not isinstance(field.default, bool):
                about = text.split(f" {flag} ", 1)[1][:700]
                assert "default" in about, flag
                assert str(field.default) in about, flag
    for name in (*ENCODERS, *ACTIVATIONS):
        assert f" {name}," in text or f" {name}." in text, name


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("train", "--help"), ("resume", "-h"), ("evaluate", "-h")])
def test_help_exits_with_0(arguments: tuple[str, ...]) -> None:
    result = hadamax(*arguments)
    assert (result.code, result.err) == (0, "")
    assert "hadamax" in result.out
