"""Studies: every planned command parses to the planned settings, and mistakes are one-line errors."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hadamax.cli.console import parse
from hadamax.environments.atari import atari_name
from hadamax.errors import UserError
from hadamax.networks import ENCODERS, build_encoder
from hadamax.runs.settings import settings_type
from hadamax.runs.setup import resolve
from hadamax.studies.study import Study, read_study, shipped_studies
from hadamax.studies.suites import HARD_EXPLORATION, suites

SMALL = """
algorithm = "pqn"
games = ["PongNoFrameskip-v4", "Breakout"]
seeds = [3, 1]

[settings]
frames = 1_000_000
learning_rate = 1e-3

[variants]
base = { encoder = "nature-norm" }
tanh = { encoder = "nature-norm", activation = ["tanh", "sigmoid"], branches = 2, learning_rate = 2e-3 }
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study(toml: str) -> Study:
    Path("file.toml").write_text(toml)
    return read_study("file.toml")


def as_trained(command: str) -> Any:
    """Parse a command into settings."""
    program, verb, algorithm, *arguments = shlex.split(command)
    assert (program, verb) == ("hadamax", "train")
    return parse(settings_type(algorithm), arguments, "test")


def test_study_by_hand() -> None:
    found = study(SMALL)
    ids = [f"{v}/{g}/seed-{s}" for s, v, g in itertools.product((3, 1), ("base", "tanh"), ("Pong", "Breakout"))]
    assert [run.id for run in found.runs] == ids
    assert (found.name, found.frames) == ("file", 8_000_000)
    assert found.runs[-1].settings.algorithm.learning_rate == 2e-3
    assert found.runs[0].settings.algorithm.learning_rate == 1e-3
    assert found.runs[-1].settings.network.activation == ("tanh", "sigmoid")
    assert found.listing() == [
        "file",
        "8 runs (2 variants x 2 games x 2 seeds), 8,000,000 frames in all",
        "  base: 4 runs, 4,000,000 frames",
        "  tanh: 4 runs, 4,000,000 frames",
    ]
    assert found.runs[0].command("my runs") == (
        "hadamax train pqn --env=Pong --frames=1000000 --learning-rate=0.001 --encoder=nature-norm --seed=3 "
        "'--out=my runs/file/base/Pong/seed-3'"
    )


@pytest.mark.parametrize("name", ["file", *shipped_studies()])
def test_commands_parse_to_the_planned_settings(name: str) -> None:
    found = study(SMALL) if name == "file" else read_study(name)
    for run in found.runs[:: max(len(found.runs) // 7, 1)]:
        trained = resolve("pqn", as_trained(run.command("runs")))
        assert trained.run.out == f"runs/{found.name}/{run.id}"
        machine = {n: getattr(trained.run, n) for n in ("out", "device", "precision", "threads")}
        assert asdict(replace(run.settings, run=replace(run.settings.run, **machine))) == asdict(trained)


def test_another_seed_adds_only_its_runs() -> None:
    assert study(SMALL) == study(SMALL)
    before, after = study(SMALL), study(SMALL.replace("[3, 1]", "[3, 1, 7]"))
    assert {run.id for run in after.runs} > {run.id for run in before.runs}
    kept = [run for run in after.runs if run.seed != 7]
    assert kept == list(before.runs)


def test_grids_multiply_and_lists_are_zipped() -> None:
    found = study(
        'algorithm = "pqn"\ngames = ["Pong"]\n[variants.a]\n[variants.b]\nencoder = "nature-norm"\n'
        "[grid]\nwidth = [0.5, 1.0]\nlr_decay = [true, false]\n"
        "[list]\nnum_envs = [64, 128, 32]\nnum_steps = [16, 8, 32]\n"
    )
    expected = [
        (variant, width, decay, envs, steps)
        for variant in ("a", "b")
        for width in (0.5, 1.0)
        for decay in (True, False)
        for envs, steps in ((64, 16), (128, 8), (32, 32))
    ]
    settings = [run.settings for run in found.runs]
    encoders = {"hadamax": "a", "nature-norm": "b"}
    got = [
        (
            encoders[s.network.encoder],
            s.network.width,
            s.algorithm.lr_decay,
            s.algorithm.num_envs,
            s.algorithm.num_steps,
        )
        for s in settings
    ]
    assert got == expected
    assert found.runs[0].variant == "a,width=0.5,lr_decay=True,num_envs=64,num_steps=16"


def test_study_without_variants_has_one() -> None:
    assert [run.id for run in study('algorithm = "pqn"\nsuite = "Atari-1"').runs] == ["base/NameThisGame/seed-1"]
    found = study(
        'algorithm = "pqn"\nsuite = "Atari-1"\n[grid]\nactivation = ["tanh", ["tanh", "relu"]]\nbranches = [2]'
    )
    assert [run.variant for run in found.runs] == ["activation=tanh,branches=2", "activation=tanh+relu,branches=2"]


def test_suites_have_their_games() -> None:
    sizes = {name: len(suite.games) for name, suite in suites().items()}
    subsets = {"Atari-1": 1, "Atari-3": 3, "Atari-5": 5, "Atari-10": 10, "Atari-3-Val": 3, "Atari-5-Val": 5}
    assert sizes == {"Atari-57": 57, "HR-51": 51, "HR-8": 8, "MinAtar": 5, **subsets}
    for name, suite in suites().items():
        assert suite.source
        assert len(set(suite.games)) == len(suite.games)
        if name != "MinAtar":
            assert [atari_name(game) for game in suite.games] == list(suite.games)
    assert set(suites()["Atari-57"].games) == set(suites()["HR-51"].games) | set(HARD_EXPLORATION)


def test_minatar_names_equal_the_library() -> None:
    minatar_gym = pytest.importorskip("minatar.gym")
    import gymnasium

    if "MinAtar/Breakout-v1" not in gymnasium.registry:
        minatar_gym.register_envs()
    registered = {name for name in gymnasium.registry if name.startswith("MinAtar/") and name.endswith("-v1")}
    assert set(suites()["MinAtar"].games) == registered


@pytest.mark.parametrize("name", list(shipped_studies()))
def test_shipped_studies_have_distinct_valid_runs(name: str) -> None:
    found = read_study(name)
    assert found.name == name
    assert found.about
    assert len({run.id for run in found.runs}) == len(found.runs)
    assert {run.settings.network.encoder for run in found.runs} <= set(ENCODERS)


def test_paper_variants_have_the_published_layers() -> None:
    """HR's layers against encoders written out here."""
    runs = {run.variant: run.settings.network for run in read_study("hr-minatar").runs}

    def parameters(name: str) -> int:
        network = runs[name]
        given = {"branches": network.branches, "combine": network.combine, "features": network.features}
        encoder = build_encoder(
            "minatar",
            observation_shape=(4, 10, 10),
            input_scale=1.0,
            layers=network.layers,
            activation=network.activation[0],
            norm=None if network.norm == "none" else network.norm,
            **{key: value for key, value in given.items() if value is not None},
        )
        return sum(p.numel() for p in encoder.parameters())

    convolution = 16 * 4 * 9 + 16 + 2 * 16  # weights, biases, the norm's scale and shift
    dense = 1024 * 128 + 128
    assert parameters("tanh") == parameters("relu") == parameters("sigmoid") == convolution + dense
    assert parameters("tanh-hr") == parameters("tanh-sum") == convolution + 2 * dense
    assert parameters("tanh-2hr") == convolution + 3 * dense
    assert parameters("tanh-norm") == convolution + dense + 2 * 128
    assert parameters("relu-wide") == convolution + 2 * dense


HEAD = 'algorithm = "pqn"\ngames = ["Pong"]\n'


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("", ["suite", "no games"]),
        ('games = ["Pong"]', ["algorithm", "''", "pqn"]),
        ('algorithm = "qpn"\ngames = ["Pong"]', ["algorithm", "'qpn'", "did you mean 'pqn'?"]),
        (HEAD + "sead = 3", ["key", "'sead'", "did you mean 'seeds'?"]),
        (HEAD + 'seeds = "three"', ["seeds", "'three'", "a whole number or a list"]),
        (HEAD + "seeds = true", ["seeds", "True", "wrong type"]),
        (HEAD + "seeds = 0", ["seeds", "0", "empty"]),
        (HEAD + "seeds = -3", ["seeds", "-3", "empty"]),
        (HEAD + "seeds = []", ["seeds", "[]", "empty"]),
        (HEAD + "seeds = [1, -1]", ["seeds", "-1"]),
        (HEAD + "seeds = [1, 2, 1]", ["seeds", "1 is listed twice"]),
        (HEAD + "seeds = 1_000_000_000", ["seeds", "1000000000", "too many"]),
        ('algorithm = "pqn"\nsuite = "Atari-57s"', ["suite", "'Atari-57s'", "did you mean 'Atari-57'?"]),
        ('algorithm = "pqn"\nsuite = [["Atari-57"]]', ["suite", "['Atari-57'] is not a name"]),
        ('algorithm = "pqn"\ngames = ["Pnog"]', ["game", "'Pnog'", "did you mean 'Pong'?"]),
        ('algorithm = "pqn"\ngames = ["MinAtar/Pong-v1"]', ["game", "'MinAtar/Pong-v1'"]),
        ('algorithm = "pqn"\ngames = ["Pong", "ALE/Pong-v5"]', ["games", "'Pong' is listed twice"]),
        ('algorithm = "pqn"\nsuite = ["Atari-5", "Atari-10"]', ["games", "'BattleZone' is listed twice"]),
        (HEAD + "[settings]\nlearning-rate = 1", ["settings", "'learning-rate'", "did you mean 'learning_rate'?"]),
        (HEAD + "[settings]\nseed = 1", ["settings", "seed is set by seeds"]),
        (HEAD + '[variants.a]\nenv = "Pong"', ["variants: a", "env is set by suite or games"]),
        (HEAD + '[grid]\nout = ["a", "b"]', ["grid", "out is set by"]),
        (HEAD + "[variants.a]\nbranchs = 2", ["variants: a", "'branchs'", "did you mean 'branches'?"]),
        (HEAD + '[variants.a]\nencoder = "hadamx"', ["variant a", "'hadamx'", "did you mean 'hadamax'?"]),
        (HEAD + '[variants.a]\nactivation = "tahn"', ["variant a", "tahn", "did you mean"]),
        (HEAD + '[variants.a]\nactivation = ["tanh", "relu"]', ["variant a", "activation", "branches"]),
        (HEAD + '[variants.a]\ngamma = "high"', ["variant a", "gamma", "'high'", "a number"]),
        (HEAD + "[variants.a]\ngamma = 2.0", ["variant a", "gamma", "2.0", "0 to 1"]),
        (HEAD + "[variants.a]\nsticky_actions = 1.5", ["variant a", "sticky_actions", "1.5"]),
        (HEAD + "[variants]\na = 3", ["variants: a", "3 is invalid; expected a table"]),
        (HEAD + "[variants]", ["variants", "the table is empty"]),
        (HEAD + '[variants."a/b"]', ["variants", "'a/b'", "not a valid folder name"]),
        (HEAD + 'name = "../x"', ["name", "'../x'", "not a valid folder name"]),
        (HEAD + "[variants.a]\n[variants.b]", ["b/Pong/seed-1 has the same settings as a/Pong/seed-1"]),
        (HEAD + "[variants.a]\n[variants.b]\nwidth = 1", ["b/Pong/seed-1 has the same settings as a/Pong/seed-1"]),
        (
            HEAD + '[variants.a]\nencoder = "hadamax-no-product"\n[variants.b]\nencoder = "hadamax"\nbranches = 1',
            ["b/Pong/seed-1 has the same settings as a/Pong/seed-1"],
        ),
        (HEAD + "[grid]\ngamma = []", ["grid", "gamma", "[]"]),
        (HEAD + "[grid]\ngamma = 0.9", ["grid", "gamma", "0.9 is invalid; expected a list"]),
        (HEAD + "[grid]\ngamma = [0.9, 0.9]", ["grid", "gamma", "0.9 is listed twice"]),
        (HEAD + "[grid]\ngamma = [0.9]\n[settings]\ngamma = 0.8", ["grid", "gamma is also in [settings]"]),
        (HEAD + "[grid]\ngamma = [0.9]\n[list]\ngamma = [0.8]", ["grid", "gamma is also in [list]"]),
        (HEAD + "[list]\ngamma = [0.9]\nwidth = [1.0, 2.0]", ["list", "[1, 2] values", "equally many"]),
        (HEAD + "seeds = 3\nmax_runs = 5\n[grid]\ngamma = [0.1, 0.2]", ["max_runs: 6 runs exceed 5", "= 6"]),
        (HEAD + f"[grid]\nnum_envs = {list(range(50))}\nnum_steps = {list(range(50))}", ["2,500 runs", "2,000"]),
        ("x = [", ["is not a TOML file"]),
    ],
)
def test_invalid_study_is_a_one_line_error(toml: str, words: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        study(toml)
    line = str(refusal.value)
    assert line.startswith("file.toml: ")
    assert "\n" not in line
    assert line.count("file.toml") == 1
    for word in words:
        assert word in line


def test_missing_study_is_a_one_line_error() -> None:
    with pytest.raises(UserError, match=r"study: 'hadamax-ablation' is unknown; did you mean 'hadamax-ablations'\?"):
        read_study("hadamax-ablation")
    with pytest.raises(UserError, match=r"other.toml: cannot be read"):
        read_study(Path("other.toml"))
