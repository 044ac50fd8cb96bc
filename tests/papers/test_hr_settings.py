"""HR Tables 4 to 6 and Figure 5: printed settings equal those of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.papers.test_from_runs import table
from tests.runs.runs import CARTPOLE, hadamax, make

from hadamax.papers.hr_figure_5 import gradient
from hadamax.runs.settings import read_toml

# The published tables' values, as the paper prints them.
PUBLISHED = {
    "hr-table-4": ("dqn", {"learning_rate": 1e-4, "batch_size": 32, "target_every": 1000, "epsilon_end": 0.1}),
    "hr-table-5": ("ppo", {"learning_rate": 2.5e-4, "num_steps": 128, "clip": 0.1, "max_grad_norm": 0.5}),
    "hr-table-6": ("pqn", {"num_envs": 128, "num_steps": 32, "q_lambda": 0.65, "max_grad_norm": 10.0}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_table_lists_settings(name: str, tmp_path: Path) -> None:
    result = hadamax("paper", name, "--out", tmp_path)
    assert result.code == 0, result
    rows = table(tmp_path / f"{name}.csv")
    stated = [row for row in rows if row["published"] != "not stated"]
    assert all((row["same"] == "yes") == (row["published"] == row["ours"]) for row in stated)
    assert f"{sum(row['same'] == 'yes' for row in stated)} of {len(stated)} are our defaults" in result.out


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("hr-table-4", "note: Final Exploration: 0.1, as published; CleanRL, which the text says it follows: 0.01"),
        ("hr-table-4", "choice not from the paper: Steps between updates: 4; CleanRL's value"),
        ("hr-table-4", "choice not from the paper: Final Exploration Frame: 1,000,000; the table says frames"),
        ("hr-table-6", "note: Learning Rate Linear Decay: True, as published; the authors' scripts default to False"),
    ],
)
def test_settings_of_others_are_not_marked_as_ours(name: str, line: str, tmp_path: Path) -> None:
    result = hadamax("paper", name, "--out", tmp_path)
    assert line in result.out
    assert line in (tmp_path / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_of_a_run_equal_the_table(name: str, tmp_path: Path) -> None:
    algorithm, expected = PUBLISHED[name]
    game = {key: CARTPOLE[key] for key in ("env", "encoder", "threads", "device", "precision")}
    loop = make(tmp_path / "run", game, lambda line: None, algorithm=algorithm)
    loop.close()
    config = read_toml(tmp_path / "run" / "config.toml")
    assert expected.items() <= config[algorithm].items()


def test_gradient_of_a_product() -> None:
    """HR section 4: A1 sech^2(u1) tanh(u2) + A2 tanh(u1) sech^2(u2), term by term."""
    u1, u2 = torch.tensor([0.3, 9.0], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    by_hand = (torch.tanh(u2) / torch.cosh(u1) ** 2).abs() + (torch.tanh(u1) / torch.cosh(u2) ** 2).abs()
    assert torch.allclose(gradient("tanh", u1, u2), by_hand)
    assert gradient("tanh", u1, u2)[1] > 0.7  # one branch saturated: the other learns
    assert gradient("relu", -u1, u2).max() == 0
