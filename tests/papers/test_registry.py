"""Every figure and table of the papers has a name and states what it needs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.runs.runs import hadamax

from hadamax.papers.registry import EXHIBITS
from hadamax.papers.runs import Need, Scale, in_common_games, size, study_content
from hadamax.studies.study import read_study, shipped_studies

ROOT = Path(__file__).parents[2]
WITH_RUNS = [name for name, exhibit in EXHIBITS.items() if exhibit.needs]
WAITING = [name for name, exhibit in EXHIBITS.items() if exhibit.waits]


whole = cache(read_study)


def test_every_figure_and_table_is_registered() -> None:
    hr = [f"hr-table-{i}" for i in range(1, 7)] + [f"hr-figure-{i}" for i in range(1, 26)]
    assert set(hr) <= EXHIBITS.keys()
    hadamax_ones = {"headline", "ablations", "layers", "depth", "width", "c51", "run-time"}
    assert {f"hadamax-{name}" for name in hadamax_ones} <= EXHIBITS.keys()
    for exhibit in EXHIBITS.values():
        assert sum(map(bool, (exhibit.effort, exhibit.needs, exhibit.waits))) == 1
        assert (exhibit.draw is None) == bool(exhibit.waits)
        assert not exhibit.done or (ROOT / exhibit.done.split()[0] / "README.md").exists()


def test_list_shows_every_exhibit() -> None:
    result = hadamax("paper", "list")
    assert result.code == 0
    shown = {line.split()[0] for line in result.out.splitlines() if line and not line.startswith(" ")}
    assert EXHIBITS.keys() <= shown


@pytest.mark.parametrize("name", WITH_RUNS)
def test_needs_name_existing_variants(name: str) -> None:
    for need in EXHIBITS[name].needs:
        study = whole(need.study)
        kept = [
            run
            for run in study.runs
            if (not need.variants or run.variant in need.variants)
            and (not need.games or run.game in need.games)
            and (not need.seeds or run.seed <= need.seeds)
        ]
        assert set(need.variants) <= {run.variant for run in study.runs}
        assert size(need)[:2] == (len(kept), max(run.settings.run.frames for run in kept))


@pytest.mark.parametrize("name", WITH_RUNS)
def test_missing_runs_are_a_one_line_error_with_the_cost(name: str) -> None:
    line = hadamax("paper", name).refusal
    assert line.startswith(f"runs: {name} needs ")
    for words in (str(size(EXHIBITS[name].needs[0])), "--runs FOLDER", "--start", "--frames"):
        assert words in line


@pytest.mark.parametrize("name", WAITING)
def test_unavailable_exhibit_states_its_reason(name: str) -> None:
    assert hadamax("paper", name).refusal == f"paper: {name} is not available yet: {EXHIBITS[name].waits}"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("hr-figure-77",), "paper: 'hr-figure-77' is unknown; did you mean 'hr-figure-7'? expected one of list"),
        (("hr-table-3", "--runs", "."), "runs: hr-table-3 needs no runs"),
        (("hr-figure-7", "--runs", "nowhere"), "runs: there are no runs in nowhere"),
        (("hr-figure-7", "--seeds", "0"), "seeds: 0 is too small; expected 1 or more"),
        (("hr-figure-7", "--frames", "0"), "frames: 0 is too small"),
        (("hr-figure-7", "--games", "Tetris3", "--seeds", "1"), "game: 'Tetris3' is unknown"),
    ],
)
def test_invalid_arguments_are_one_line_errors(
    arguments: tuple[str, ...], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hadamax("paper", *arguments).refusal.startswith(line)


def test_study_at_a_smaller_scale(tmp_path: Path) -> None:
    """Read back by the sweep: games, seeds, frames and schedules equal the requested ones."""
    import tomli_w

    need = Need("hr-densities", ("tanh", "tanh-hr"))
    content = study_content(need, Scale(("MinAtar/Breakout-v1", "MinAtar/Asterix-v1"), 3, 40_000))
    file = tmp_path / "small.toml"
    file.write_text(tomli_w.dumps(content))
    study = read_study(file)
    assert study.name == "hr-densities-40000"
    assert len(study.runs) == 2 * 2 * 3
    for run in study.runs:
        settings = run.settings
        assert (settings.run.frames, settings.run.keep_checkpoints_at) == (40_000, (4_000, 20_000, 40_000))
        assert settings.network.encoder == "minatar"
        assert settings.run.diagnostics_every == 2_000
    whole = study_content(need, Scale())
    assert (whole["name"], whole["settings"]["frames"], list(whole["variants"])) == (
        "hr-densities",
        40_000_000,
        ["tanh", "tanh-hr"],
    )


NOT_IN_THE_PAPERS = ("hr-minatar", "hadamax-minatar", "hadamax-atari3", "hr-atari3")


def test_every_shipped_study_is_used() -> None:
    used = {need.study for exhibit in EXHIBITS.values() for need in exhibit.needs}
    assert {name for name in shipped_studies() if name not in NOT_IN_THE_PAPERS} == used


def test_variants_are_compared_on_the_same_games() -> None:
    def runs(games: dict[str, str]) -> list[Any]:
        return [SimpleNamespace(variant=v, game=game) for v, letters in games.items() for game in letters]

    kept, remark = in_common_games(runs({"tanh": "abc", "relu": "bc"}))
    assert [(run.variant, run.game) for run in kept] == [("tanh", "b"), ("tanh", "c"), ("relu", "b"), ("relu", "c")]
    assert remark == "omitted games, because relu lacks them: a"
    assert in_common_games(runs({"tanh": "ab", "relu": "ba"}))[1] == ""
    kept, remark = in_common_games(runs({"tanh": "a", "relu": "b"}))
    assert (len(kept), remark) == (2, "no game is common to all variants, so their games differ")


def test_minatar_variants_without_a_norm_stay_without() -> None:
    """The encoder `minatar` has a norm; of the variants only those that name one keep it."""
    content = study_content(Need("hr-dqn"), Scale(("MinAtar/Breakout-v1",), 1, 1_000_000))
    settings = {name: content["settings"] | table for name, table in content["variants"].items()}
    assert settings["tanh"]["encoder"] == "minatar"
    assert settings["tanh"]["norm"] == "none"
    assert settings["tanh-norm"]["norm"] == "channels"


def test_shorter_run_starts_to_learn_sooner() -> None:
    frames = {f: study_content(Need("hr-dqn"), Scale(frames=f))["settings"] for f in (40_000_000, 4_000_000, 1_000)}
    assert "learning_starts" not in frames[40_000_000]
    assert frames[4_000_000]["learning_starts"] == 8_000  # a tenth of HR Table 4's
    assert frames[1_000]["learning_starts"] == 256
    assert "learning_starts" not in study_content(Need("hr-ppo"), Scale(frames=1_000_000))["settings"]
