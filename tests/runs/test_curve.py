"""Learning curves show what the files contain, and missing parts do not stop them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hadamax.environments.atari import atari_games
from hadamax.errors import UserError
from hadamax.published import random_and_human, random_human
from hadamax.runs.curve import Series, draw_curve, read_games

HEADER = "frame,source,env,raw_return,length\n"
CONFIG = """
format = 1
algorithm = "pqn"
[run]
seed = 3
[environment]
env = "{env}"
[network]
encoder = "hadamax"
[protocol]
fingerprint = "0123456789ab"
"""


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Record saved figures."""
    saved: list[Figure] = []
    save = Figure.savefig

    def spy(self: Figure, *arguments: Any, **options: Any) -> None:
        saved.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return saved


def make_run(path: Path, env: str = "Breakout", games: int = 400, scale: float = 10.0) -> Path:
    path.mkdir()
    (path / "config.toml").write_text(CONFIG.format(env=env))
    sources = ["training", "training", "training", "test"]
    rows = [f"{5000 * i},{sources[i % 4]},0,{scale * (i % 5)},400\n" for i in range(games)]
    (path / "episodes.csv").write_text(HEADER + "".join(rows))
    (path / "metrics.csv").write_text("frame,loss\n3000000,0.5\n")
    return path


def evaluate(path: Path, interval: list[float] | None, fingerprint: str = "0123456789ab") -> None:
    agent = {"mean": 30.0, "ci95": interval, "returns": [30.0] * (3 if interval else 1)}
    report = {"frame": 2_000_000, "fingerprint": fingerprint, "agent": agent}
    (path / "evaluation.json").write_text(json.dumps(report))


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_curve_of_a_complete_run(tmp_path: Path, figures: list[Figure]) -> None:
    run = make_run(tmp_path / "run")
    evaluate(run, [25.0, 36.0])
    out = draw_curve(run, tmp_path / "new" / "curve.png")
    with Image.open(out) as picture:
        assert picture.size[0] > 900
    assert [file.name for file in out.parent.iterdir()] == ["curve.png"]
    (figure,) = figures
    (axes,) = figure.axes
    assert labels(figure) == [
        "training games, exploring: mean of 30, band 10th to 90th percentile",
        "test games, greedy: mean of 10",
        "final evaluation: mean of 3 games, 95% interval",
        "published random: 1.7",
        "published human: 30.5",
    ]
    assert figure.get_suptitle() == "Breakout, hadamax, pqn, seed 3"
    assert "0123456789ab" in axes.get_title()
    assert axes.get_xlim()[1] >= 3.0  # metrics.csv goes further than the last game
    bars = axes.containers[0].lines[2][0].get_segments()[0]  # type: ignore[attr-defined]
    assert bars.tolist() == [[2.0, 25.0], [2.0, 36.0]]


def test_smoothing_by_hand() -> None:
    series = Series(np.arange(1000.0), np.tile([0.0, 10.0], 500))
    frames, mean, low, high = series.smoothed()
    assert series.window == 100
    assert (frames[0], frames[-1]) == (49.5, 949.5)
    assert set(mean) == {5.0}
    assert (set(low), set(high)) == ({0.0}, {10.0})
    few = Series(np.array([1.0, 2.0]), np.array([3.0, 5.0]))
    assert few.smoothed()[1].tolist() == [3.0, 5.0]


def test_games_are_read_by_source(tmp_path: Path) -> None:
    path = tmp_path / "episodes.csv"
    path.write_text(HEADER + "4,training,0,1.5,8\n8,test,1,-2,8\n12,training,0,2.5,8\n16,training,0,9")
    games = read_games(path)  # the last row was cut by a kill
    assert games["training"].frames.tolist() == [4, 12]
    assert games["training"].returns.tolist() == [1.5, 2.5]
    assert games["test"].returns.tolist() == [-2]


def test_evaluation_of_another_protocol_is_labelled(tmp_path: Path, figures: list[Figure]) -> None:
    run = make_run(tmp_path / "run", games=3)
    evaluate(run, None, fingerprint="ffffffffffff")
    draw_curve(run, run / "curve.png")
    assert "final evaluation: mean of 1 game, protocol ffffffffffff" in labels(figures[0])


def test_distant_human_score_does_not_set_the_scale(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curve(make_run(tmp_path / "run", env="Seaquest", scale=100.0), tmp_path / "curve.png")
    assert figures[0].axes[0].get_ylim()[1] < 1000
    assert "published human: 42,054.7 (off the picture)" in labels(figures[0])


@pytest.mark.parametrize("env", ["Breakout", "MinAtar/Breakout-v1", "CartPole-v1"])
@pytest.mark.parametrize("episodes", [None, "", HEADER, HEADER + "100,training,0,1,8\n"])
def test_curve_of_few_or_no_points(tmp_path: Path, figures: list[Figure], env: str, episodes: Any) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.format(env=env))
    (tmp_path / "metrics.csv").write_text("")
    (tmp_path / "evaluation.json").write_text('{"frame": 3, "ag')
    if episodes is not None:
        (tmp_path / "episodes.csv").write_text(episodes)
    assert draw_curve(tmp_path, tmp_path / "curve.png").stat().st_size > 1000
    said = [text.get_text() for text in figures[0].axes[0].texts]
    assert ("no game has finished yet" in said) == (episodes in (None, "", HEADER))


def test_empty_or_missing_folder(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curve(tmp_path, tmp_path / "curve.png")
    assert figures[0].get_suptitle() == tmp_path.name
    with pytest.raises(UserError, match=r"run: .* is not a folder"):
        draw_curve(tmp_path / "none", tmp_path / "curve.png")


def test_published_scores_are_drawn() -> None:
    assert random_and_human("Pong") == (-20.7, 14.6)
    assert random_and_human("MinAtar/Breakout-v1") is None
    assert len(random_human()) == 57
    assert set(random_human()) <= set(atari_games())
