"""Reading runs: real ones, synthetic ones, half-written ones; and which runs may be pooled."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runs.runs import CARTPOLE, hadamax, train

from hadamax.environments import EnvironmentSettings
from hadamax.errors import UserError
from hadamax.runs.settings import to_toml
from hadamax.studies.collect import collect, read_run
from hadamax.studies.score_table import baseline_ranges, curves, pool, score_table
from hadamax.studies.scores import baseline_normalised, human_normalised
from hadamax.studies.statistics import aggregate, common_frames, sample_efficiency
from hadamax.studies.study import read_study

pytestmark = pytest.mark.end_to_end

STUDY = """
algorithm = "pqn"
games = ["Pong", "Breakout"]
seeds = 2
[settings]
frames = 400
[variants]
base = { encoder = "nature-norm" }
other = { encoder = "hadamax-fast" }
"""


RESULTS = Path(__file__).parents[2] / "results"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def score(variant: str, game: str, seed: int) -> float:
    return 10.0 * (variant == "other") + 2.0 * (game == "Pong") + seed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write run folders of a study with known scores."""
    (tmp_path / "small.toml").write_text(STUDY)
    study = read_study(tmp_path / "small.toml")
    for run in study.runs:
        folder = run.folder(tmp_path)
        folder.mkdir(parents=True)
        settings = replace(run.settings, environment=run.settings.environment.resolved())
        (folder / "config.toml").write_text(to_toml("pqn", settings, {"protocol": {"fingerprint": "not read"}}))
        end = score(run.variant, run.game, run.seed)
        returns = ["", end - 3, "", end]
        rows = [{"frame": 100 * (i + 1), "training_return": r, "test_return": ""} for i, r in enumerate(returns)]
        write_rows(folder / "metrics.csv", rows)
        games = [{"frame": 100 + i, "source": "training", "env": 0, "raw_return": 99.0, "length": 5} for i in range(7)]
        games += [{**games[0], "raw_return": end + (-1) ** i} for i in range(100)]
        write_rows(folder / "episodes.csv", games)
    return tmp_path / "small"


def folder(root: Path, variant: str = "base", game: str = "Pong", seed: int = 1) -> Path:
    return root / variant / game / f"seed-{seed}"


def test_study_reads_as_a_table(root: Path) -> None:
    runs, problems = collect([root])
    assert problems == []
    table, left_out = score_table(runs, "training")
    assert left_out == []
    assert len(table) == 8
    for row in table:
        assert row.score == pytest.approx(score(row.variant, row.game, row.seed))
        assert (row.games, row.frame, row.frames, row.source) == (100, 400, 400, "training")
        assert row.run == folder(root, row.variant, row.game, row.seed)
        assert row.protocol == EnvironmentSettings(row.game).fingerprint()
    assert pool(table)["other"] == {"Breakout": [11.0, 12.0], "Pong": [13.0, 14.0]}


def test_human_normalised_scores(root: Path) -> None:
    table, _ = score_table(collect([root])[0], "training")
    pooled = pool(table, human_normalised)
    expected = [(3 + 20.7) / (14.6 + 20.7), (4 + 20.7) / (14.6 + 20.7)]
    assert pooled["base"]["Pong"] == pytest.approx(expected)
    assert aggregate(pooled["base"])["mean"] == pytest.approx(
        statistics.fmean([*expected, *human_normalised([1, 2], "Breakout")])
    )


def test_baseline_normalised_scores(root: Path) -> None:
    """All logged points of both seeds of the baseline: in Pong from 3 - 3 to 4."""
    runs, _ = collect([root])
    ranges = baseline_ranges(runs, "base", "training")
    assert ranges == {"Breakout": (-2.0, 2.0), "Pong": (0.0, 4.0)}
    pooled = pool(score_table(runs, "training")[0], lambda s, game: baseline_normalised(s, ranges[game]))
    assert pooled["other"] == {"Breakout": [13 / 4, 14 / 4], "Pong": [13 / 4, 14 / 4]}
    with pytest.raises(UserError, match="variant: 'bsae' is unknown; did you mean 'base'"):
        baseline_ranges(runs, "bsae", "training")


def test_curves_for_sample_efficiency(root: Path) -> None:
    found = curves(collect([root])[0], "training")
    frames, scores = found["base"]["Pong"][1]
    assert (frames.tolist(), scores.tolist()) == ([200, 400], [1.0, 4.0])
    band = sample_efficiency(found["base"], common_frames(found["base"], 3), replicates=20)
    assert (band.x.tolist(), band.estimate.tolist()) == ([200, 400], [-0.5, 2.5])  # all were logged there
    assert curves(collect([root])[0], "test") == {}


def test_missing_runs_are_reported(root: Path) -> None:
    rows = rows_of(folder(root) / "metrics.csv")
    write_rows(folder(root) / "metrics.csv", rows[:2])
    (folder(root, seed=2) / "episodes.csv").unlink()
    (folder(root, "other") / "config.toml").write_text("x = [")
    (folder(root, "other", seed=2) / "episodes.csv").write_text("frame,source,raw_return\n1,training,many\n")
    (folder(root, "other", "Breakout") / "metrics.csv").write_text("frame,training_return\n100,1.0\n")
    runs, problems = collect([root])
    table, left_out = score_table(runs, "training")
    assert left_out == [
        f"{folder(root)}: not finished: 200 of 400 frames",
        f"{folder(root, seed=2)}: no score of source 'training'",
    ]
    assert {row.run for row in table} == {folder(root, "base", "Breakout", s) for s in (1, 2)} | {
        folder(root, "other", "Breakout", 2)
    }
    assert len(problems) == 3
    for problem, words in zip(
        problems,
        (["other/Breakout/seed-1", "test_return"], ["is not a TOML file"], ["other/Pong/seed-2", "many"]),
        strict=True,
    ):
        assert "\n" not in problem
        assert all(word in problem for word in words), problem
    assert len(score_table(runs, "training", unfinished=True)[0]) == len(table) + 1


def test_incomplete_last_row_is_ignored(root: Path) -> None:
    with open(folder(root) / "episodes.csv", "a") as file:
        file.write("1,training,0,12")
    with open(folder(root) / "metrics.csv", "a") as file:
        file.write("500,1")
    run = read_run(folder(root))
    assert (run.frame, len(run.returns["training"])) == (400, 100)


def change(path: Path, old: str, new: str) -> None:
    config = (path / "config.toml").read_text()
    assert old in config
    (path / "config.toml").write_text(config.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [("sticky_actions = 0.0", "sticky_actions = 0.25", "protocol"), ("frames = 400", "frames = 420", "frames")],
)
def test_differing_runs_are_not_pooled(root: Path, old: str, new: str, word: str) -> None:
    change(folder(root, "other"), old, new)
    table, left_out = score_table(collect([root])[0], "training")
    assert left_out == []
    with pytest.raises(UserError, match=f"^{word}: .*cannot be pooled") as refusal:
        pool(table)
    assert str(folder(root, "other")) in str(refusal.value)
    assert len(pool(table, mixed=True)["other"]["Pong"]) == 2


def test_sources_are_not_pooled_and_runs_count_once(root: Path) -> None:
    table, _ = score_table(collect([root])[0], "training")
    with pytest.raises(UserError, match="source"):
        pool([*table, table[0]._replace(source="test", seed=9)])
    with pytest.raises(UserError, match="are both base, Breakout, seed 1"):
        pool([*table, table[0]])
    with pytest.raises(UserError, match="source: 'trainign' is unknown; did you mean 'training'"):
        score_table([], "trainign")
    with pytest.raises(UserError, match="game: 'Chess' has no published"):
        pool([table[0]._replace(game="Chess")], human_normalised)


def test_variant_comes_from_the_folders_of_a_study(root: Path) -> None:
    assert read_run(folder(root, "other")).variant == "other"
    folder(root, "other").rename(root / "other" / "Pong" / "seed-7")
    assert read_run(root / "other" / "Pong" / "seed-7").variant == "hadamax-fast-pqn"
    (results,) = (run for run in collect([RESULTS])[0] if run.path == RESULTS / "demo" / "seed-1")
    assert (results.variant, results.finished) == ("hadamax-light-pqn", True)


def test_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="runs: there are no runs in"):
        collect([tmp_path])


def test_run_killed_after_its_last_row_is_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "cartpole"
    assert train(path, CARTPOLE, frames=2048, log_every=256).code == 0
    assert read_run(path).finished
    (path / "finished.json").unlink()  # as before the end, when the last row is that of an interval
    header, *rows = (path / "metrics.csv").read_text().splitlines()
    (path / "metrics.csv").write_text("\n".join([header, *rows[:-1]]) + "\n")
    assert not read_run(path).finished
    assert score_table([read_run(path)], "training")[0] == []


def test_real_run_reads_as_its_files(tmp_path: Path) -> None:
    """CartPole, trained and evaluated here."""
    path = tmp_path / "cartpole"
    assert train(path, CARTPOLE, frames=2048, log_every=1).code == 0
    assert hadamax("evaluate", path, "--episodes", 3, "--threads", 1).code == 0
    (run,), problems = collect([path])
    assert problems == []
    assert (run.variant, run.game, run.seed, run.finished, run.frame) == ("mlp-pqn", "CartPole-v1", 1, True, 2048)
    rows = rows_of(path / "metrics.csv")
    for source in ("training", "test"):
        (row,), _ = score_table([run], source)
        assert row.score == pytest.approx(float(rows[-1][f"{source}_return"]))
        np.testing.assert_allclose(run.curves[source][1][-1], row.score)
    report = json.loads((path / "evaluation.json").read_text())
    (row,), _ = score_table([run], "evaluation")
    assert (row.score, row.games, row.frame) == (pytest.approx(report["agent"]["mean"]), 3, 2048)
    assert row.protocol == f"{report['fingerprint']}, epsilon 0"
    (path / "evaluation.json").write_text(json.dumps({**report, "frame": 1024}))
    (run,), _ = collect([path])
    assert score_table([run], "evaluation") == ([], [f"{path}: evaluated at frame 1,024, trained to 2,048"])
    assert score_table([run], "evaluation", unfinished=True)[0][0].frame == 1024
    (path / "evaluation.json").write_text('{"agent": {"returns": []}}')
    assert "is damaged" in collect([path])[1][0]
