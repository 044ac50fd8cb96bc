"""Figures from small real runs, checked against the runs' own files."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from PIL import Image
from tests.papers.conftest import GAME, SEEDS, VARIANTS
from tests.runs.runs import Result, hadamax

from hadamax.papers import densities
from hadamax.papers.registry import EXHIBITS
from hadamax.papers.runs import Need, scale_of
from hadamax.studies.collect import collect

pytestmark = pytest.mark.end_to_end

WITH_RUNS = [name for name, exhibit in EXHIBITS.items() if exhibit.needs]
# Exhibits that the fixture's variants fill at least partly.
FILLED = [
    *("hr-table-2", "hr-figure-1", "hr-figure-3", "hr-figure-4", "hr-figure-6", "hr-figure-7", "hr-figure-8"),
    *("hr-figure-9", "hr-figure-10", "hr-figure-11", "hr-figure-13", "hr-figure-14", "hr-figure-15", "hr-figure-16"),
    *(f"hr-figure-{i}" for i in range(17, 26)),
    *("question-rainbow", "question-impala", "question-redo"),
]
# One of each kind; `make test-all` draws all of them.
DRAWN = ("hr-table-2", "hr-figure-3", "hr-figure-14", "hr-figure-18")


@pytest.fixture(autouse=True)
def few_observations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densities, "OBSERVATIONS", 96)


def paper(name: str, runs: Path, out: Path, *more: object) -> Result:
    return hadamax("paper", name, "--runs", runs, "--out", out, *more)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def last_layers(runs: Path, variant: str, seed: int) -> dict[str, str]:
    """Return the last measurement of the last hidden layer on fresh observations."""
    rows = table(runs / variant / GAME.replace("/", "-") / f"seed-{seed}" / "diagnostics.csv")
    return [row for row in rows if row["part"] == "output" and row["observations"] == "fresh"][-1]


@pytest.mark.parametrize(
    "name", [name if name in DRAWN else pytest.param(name, marks=pytest.mark.slow) for name in FILLED]
)
def test_figure_has_a_picture_numbers_and_a_summary(name: str, runs: Path, tmp_path: Path) -> None:
    result = paper(name, runs, tmp_path)
    assert result.code == 0, result
    assert result.out.splitlines()[0] == f"{name}: {EXHIBITS[name].title}"
    for word in ("published: ", " | ours: ", " | protocol: PQN, minatar, MinAtar/Breakout-v1, 1,024 frames", "seeds: "):
        assert word in result.out.splitlines()[1]
    assert "choice not from the paper: " in result.out
    assert (tmp_path / f"{name}.txt").read_text() in result.out
    picture = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
    assert picture.shape[0] > 400
    assert picture.shape[1] > 600
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    rows = table(tmp_path / f"{name}.csv")
    assert len(rows) > 1


def test_title_states_the_scale_of_smaller_runs(runs: Path) -> None:
    found, _ = collect([runs])
    assert scale_of(found, Need("hr-dqn")) == "PQN, 1 MinAtar game, 1,024 frames, 2 seeds"


@pytest.mark.parametrize("name", sorted(set(WITH_RUNS) - set(FILLED)))
def test_unsuitable_runs_are_a_one_line_error(name: str, runs: Path, tmp_path: Path) -> None:
    result = paper(name, runs, tmp_path)
    if result.code == 0:  # a study whose variants have any names
        assert not EXHIBITS[name].needs[0].variants
    else:
        assert result.refusal.startswith("runs: ")
        assert f"to create them: hadamax paper {name} --start --runs {runs}" in result.refusal


def test_dead_units_equal_the_runs_measurements(runs: Path, tmp_path: Path) -> None:
    assert paper("hr-figure-14", runs, tmp_path).code == 0
    assert paper("hr-table-2", runs, tmp_path).code == 0
    ends = {(r["variant"]): float(r["value"]) for r in table(tmp_path / "hr-figure-14.csv")}  # the last row stays
    in_table = {r["variant"]: r for r in table(tmp_path / "hr-table-2.csv")}
    assert ends.keys() == in_table.keys() == VARIANTS.keys()
    for variant in VARIANTS:
        column = "dead_zero" if variant.startswith("relu") else "dead_kde"
        measured = [float(last_layers(runs, variant, seed)[column]) for seed in SEEDS]
        assert ends[variant] == pytest.approx(100 * mean(measured), abs=1e-4)
        assert float(in_table[variant]["ours_at_the_end"]) == pytest.approx(mean(measured), abs=1e-6)
        low, high = float(in_table[variant]["low"]), float(in_table[variant]["high"])
        assert min(measured) - 1e-6 <= low <= mean(measured) + 1e-6
        assert mean(measured) - 1e-6 <= high <= max(measured) + 1e-6
    text = (tmp_path / "hr-table-2.txt").read_text()
    assert text.count("\nclaim: ") == 8  # claims about the available variants


def test_ranks_equal_the_runs_measurements(runs: Path, tmp_path: Path) -> None:
    assert paper("hr-figure-15", runs, tmp_path).code == 0
    rows = [r for r in table(tmp_path / "hr-figure-15.csv") if r["measure"] == "effective rank"]
    for variant in ("relu", "relu-hr"):
        end = [float(r["value"]) for r in rows if r["variant"] == variant][-1]
        assert end == pytest.approx(mean(float(last_layers(runs, variant, seed)["effective_rank"]) for seed in SEEDS))


def test_scores_equal_the_logs(runs: Path, tmp_path: Path) -> None:
    assert paper("hr-figure-18", runs, tmp_path).code == 0
    rows = table(tmp_path / "hr-figure-18.csv")
    for variant in ("relu", "tanh"):
        last = [
            float(
                table(runs / variant / GAME.replace("/", "-") / f"seed-{seed}" / "metrics.csv")[-1]["training_return"]
            )
            for seed in SEEDS
        ]
        end = [float(r["value"]) for r in rows if r["variant"] == variant][-1]
        assert end == pytest.approx(mean(last), rel=1e-5)


def test_parts_share_the_games_if_there_are_few(runs: Path, tmp_path: Path) -> None:
    assert (
        "note: each of the 7 parts shows all games, since there are only 1" in paper("hr-figure-20", runs, tmp_path).out
    )
    assert "in each of" not in paper("hr-figure-18", runs, tmp_path).out


def test_seeds_select_runs(runs: Path, tmp_path: Path) -> None:
    result = paper("hr-figure-14", runs, tmp_path, "--seeds", 1)
    assert "| seeds: 1" in result.out
    assert "the variation over seeds is unknown" in result.out
    left_out = f"left out: seeds {len(SEEDS) + 1} to 9: there are no runs"
    assert left_out in paper("hr-figure-14", runs, tmp_path, "--seeds", 9).err


def test_error_lists_the_available_games_and_seeds(runs: Path, tmp_path: Path) -> None:
    line = paper("hr-figure-14", runs, tmp_path, "--games", "Pong", "--seeds", 1).refusal
    assert f"for --games Pong --seeds 1; it has {GAME}; seeds " in line


def test_seeds_are_counted_per_game(runs: Path, tmp_path: Path) -> None:
    assert f"| seeds: {len(SEEDS)}" in paper("hr-figure-15", runs, tmp_path).out


def test_missing_baseline_omits_only_the_score(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "copy")
    shutil.rmtree(copy / "relu")
    result = paper("hr-figure-7", copy, tmp_path)
    assert result.code == 0
    assert "note: panel '(c) score' is omitted: runs: there are no runs of relu, the baseline" in result.out
    assert "note: panel '(a) dead units' omits relu, " in result.out


def test_missing_layer_is_named(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs / "relu", copy / "pqn")
    assert "has 2 hidden layers" in paper("hadamax-layers", copy, tmp_path).refusal


def test_run_without_measurements_is_named(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "copy")
    (copy / "tanh" / GAME.replace("/", "-") / "seed-2" / "diagnostics.csv").unlink()
    line = paper("hr-figure-14", copy, tmp_path).refusal
    assert "seed-2 has no measurements of its layers (diagnostics.csv)" in line
    assert "--diagnostics-every" in line


def test_densities_need_checkpoints(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "copy")
    for folder in copy.rglob("checkpoints"):
        shutil.rmtree(folder)
    assert "has no checkpoints, which the densities need" in paper("hr-figure-3", copy, tmp_path).refusal


def test_runs_of_two_lengths_are_not_pooled(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "copy")
    config = copy / "tanh" / GAME.replace("/", "-") / "seed-2" / "config.toml"
    config.write_text(config.read_text().replace("frames = 1024", "frames = 1000"))
    assert "they are not comparable" in paper("hr-figure-14", copy, tmp_path).refusal


@pytest.mark.slow
def test_figure_starts_its_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DQN on MinAtar through the sweep; a second call has nothing left to run."""
    pytest.importorskip("minatar")
    monkeypatch.chdir(tmp_path)
    arguments = ("paper", "hr-figure-4", "--games", GAME, "--seeds", 1, "--frames", 4096, "--threads", 1)
    result = hadamax(*arguments)
    assert result.code == 0, result
    assert "DQN, minatar, MinAtar/Breakout-v1, 4,096 frames" in result.out
    assert len(table(tmp_path / "figures" / "hr-figure-4.csv")) > 4
    ledger = (tmp_path / "runs" / "hr-dqn-4096" / "ledger.csv").read_text()
    again = hadamax(*arguments)
    assert (again.code, again.out) == (0, result.out)
    assert (tmp_path / "runs" / "hr-dqn-4096" / "ledger.csv").read_text() == ledger
