"""Evaluation: one whole game per environment, and statistics that equal scipy's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.probes import Event, ScriptedEngine
from tests.runs.runs import BREAKOUT, contents, hadamax, run_to_the_end

from hadamax.agents.evaluation import best_constant, capped, games_said, summary
from hadamax.environments import EnvironmentSettings, VectorEnvironment
from hadamax.environments import play as playing
from hadamax.environments.play import Played, constant_policy, play, random_policy
from hadamax.published import random_and_human

pytestmark = pytest.mark.end_to_end

ANY = EnvironmentSettings(env="Breakout")


def scripted(monkeypatch: pytest.MonkeyPatch, rule: Any) -> list[VectorEnvironment]:
    """Give `play` scripted environments and record them."""
    made: list[VectorEnvironment] = []

    def make(settings: EnvironmentSettings, games: int, *, seed: int, threads: int) -> VectorEnvironment:
        made.append(VectorEnvironment(ScriptedEngine(rule, games), seed=seed))
        return made[-1]

    monkeypatch.setattr(playing, "make_environment", make)
    return made


def test_each_environment_plays_one_game(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third game is long; the short ones restart meanwhile and count once."""

    def rule(env: int, step: int, state: int) -> Event:
        length = 50 if env % 3 == 0 else 2
        over = step % length == length - 1
        return Event(reward=1.0 + 100 * (step >= length), terminated=over)

    scripted(monkeypatch, rule)
    ended: list[int] = []
    seen: list[int] = []

    def policy(observations: np.ndarray) -> np.ndarray:
        seen.append(len(observations))
        return np.zeros(len(observations), np.int64)

    games = play(policy, ANY, 9, seed=1, finished=lambda: ended.append(1))
    assert [game.env for game in games] == list(range(9))
    assert [game.raw_return for game in games] == [50.0, 2.0, 2.0] * 3
    assert [game.steps for game in games] == [50, 2, 2] * 3
    assert len(ended) == 9
    assert seen == [9] * 2 + [3] * 48, "only those still playing are asked for an action"


def test_mean_is_not_biased_to_short_games(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the games last 1 step, half 99: the mean is 50, but about 2 over all ended games."""

    def rule(env: int, step: int, state: int) -> Event:
        # The state follows from the seed: at a game's first step it decides how long the game is.
        long = np.random.default_rng(1000 + env).random() < 0.5
        return Event(reward=1.0, terminated=step == 98 if long else True)

    scripted(monkeypatch, rule)
    games = play(constant_policy(0), ANY, 120, seed=1)
    share = np.mean([game.steps == 99 for game in games])
    assert 0.4 < share < 0.6
    assert np.mean([game.raw_return for game in games]) == pytest.approx(1 + 98 * share)


def test_truncated_game_counts_with_its_score(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, lambda env, step, state: Event(reward=2.0, truncated=step == 4))
    assert play(constant_policy(1), ANY, 2, seed=1) == [Played(0, 10.0, 5, cut=True), Played(1, 10.0, 5, cut=True)]


def test_actions_go_to_their_games(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scripted(monkeypatch, lambda env, step, state: Event(terminated=step == 2 * env))
    asked: list[np.ndarray] = []

    def policy(observations: np.ndarray) -> np.ndarray:
        asked.append(observations[:, 0])
        return observations[:, 0] % 3

    play(policy, ANY, 3, seed=1)
    for row, (executed, seen) in enumerate(zip(made[0].engine.executed, asked, strict=True)):  # type: ignore[attr-defined]
        playing = [env for env in range(3) if 2 * env >= row]
        assert list(executed[playing]) == list(seen % 3)


def games_of(*returns: float) -> list[Played]:
    return [Played(env, value, 10 * (env + 1)) for env, value in enumerate(returns)]


def test_statistics_equal_scipy() -> None:
    returns = np.random.default_rng(0).gamma(2, 30, 17)
    found = summary(games_of(*returns), "Breakout", 4)
    interval = stats.ttest_1samp(returns, 0).confidence_interval(0.95)
    assert found["mean"] == pytest.approx(returns.mean())
    assert found["ci95"] == pytest.approx([interval.low, interval.high])
    assert found["sd"] == pytest.approx(stats.tstd(returns))
    assert found["median"] == np.median(returns)
    assert found["returns"] == returns.tolist()
    assert found["mean_length_frames"] == 4 * 10 * 9
    low, human = random_and_human("Breakout") or (0, 0)
    assert (low, human) == (1.7, 30.5)
    normalised = (returns - low) / (human - low)
    assert found["human_normalised_mean"] == pytest.approx(normalised.mean())
    assert found["human_normalised_sd"] == pytest.approx(stats.tstd(normalised))
    json.dumps(found, allow_nan=False)


def test_random_and_human_scores_normalise_to_0_and_1() -> None:
    for game in ("Breakout", "Pong", "Skiing"):
        low, human = random_and_human(game) or (0, 0)
        assert summary(games_of(low, low), game, 4)["human_normalised_mean"] == pytest.approx(0)
        assert summary(games_of(human, human), game, 4)["human_normalised_mean"] == pytest.approx(1)
    assert "human_normalised_mean" not in summary(games_of(1, 2), "CartPole-v1", 1)


def test_capped_games_have_no_human_normalised_score() -> None:
    whole, cut = Played(0, 20.0, 90), Played(1, 5.0, 100, cut=True)
    assert summary([whole, cut], "Breakout", 4, limit=400)["cut"] == 1
    assert "human_normalised_mean" not in summary([whole, cut], "Breakout", 4, limit=400)
    for games, limit in (([whole], 400), ([cut], 108_000), ([cut], 200_000)):
        assert "human_normalised_mean" in summary(games, "Breakout", 4, limit=limit)


SAID = [
    (1, 100, [1], "1 game, cut at 100 frames"),
    (1, 100, [0], "1 whole game, limit 100 frames"),
    (1, None, [0], "1 whole game, uncut"),
    (3, 100, [3], "3 games, all cut at 100 frames"),
    (3, 12_000, [1], "3 games, 1 of 3 cut at 12,000 frames"),
    (3, 100, [0, 2], "3 games each, 2 of 6 cut at 100 frames"),
    (3, 108_000, [0, 0], "3 whole games each, limit 108,000 frames"),
    (3, 100, [None], "3 games, limit 100 frames"),  # a report without the cap
]


@pytest.mark.parametrize(("number", "limit", "cut", "words"), SAID)
def test_summary_counts_games(number: int, limit: int | None, cut: list[int | None], words: str) -> None:
    results = [{} if count is None else {"cut": count} for count in cut]
    baselines = dict(zip("abc", results[1:], strict=False))
    report = {"episodes": number, "max_episode_frames": limit, "agent": results[0], "baselines": baselines}
    assert games_said(report) == words


def test_one_game_has_no_interval() -> None:
    found = summary(games_of(5.0), "Pong", 4)
    assert (found["mean"], found["ci95"], found["sd"], found["human_normalised_sd"]) == (5.0, None, 0.0, 0.0)


def test_repeated_games_are_reported() -> None:
    assert summary([Played(0, 1.0, 5), Played(1, 1.0, 5), Played(2, 1.0, 6)], "Pong", 4)["distinct_games"] == 2


def test_policies_of_the_evaluation() -> None:
    seen = np.zeros((3000, 4))
    draws = random_policy(4, seed=1)(seen)
    assert stats.chisquare(np.bincount(draws, minlength=4)).pvalue > 1e-3
    assert np.array_equal(draws, random_policy(4, seed=1)(seen))
    assert not np.array_equal(draws, random_policy(4, seed=2)(seen))
    assert constant_policy(2)(seen[:3]).tolist() == [2, 2, 2]
    results = {"random": {"mean": 9}, "always NOOP": {"mean": 1}, "always FIRE": {"mean": 2}}
    assert best_constant(results) == "always FIRE"
    assert best_constant({"random": {"mean": 9}}) is None


def test_frame_cap_changes_the_fingerprint() -> None:
    assert capped(ANY, None) == ANY
    assert capped(ANY, 400).max_episode_frames == 400
    assert capped(ANY, 400).fingerprint() != ANY.fingerprint()


@pytest.mark.slow
def test_same_seed_plays_the_same_games() -> None:
    settings = EnvironmentSettings(env="Breakout", max_episode_frames=600)
    first, second, third = (play(random_policy(4, seed=1), settings, 3, seed=seed, threads=1) for seed in (5, 5, 6))
    assert first == second
    assert first != third


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    run_to_the_end(path, BREAKOUT, frames=1280)
    return path


@pytest.mark.slow
def test_evaluate_command(run: Path, tmp_path: Path) -> None:
    before = contents(run)
    film = tmp_path / "new" / "game.mp4"
    arguments = ("evaluate", run, "--episodes", 3, "--max-episode-frames", 160, "--threads", 1)
    result = hadamax(*arguments, "--baselines", "--video", film, "--video-seconds", 0.5)
    assert result.code == 0, result
    assert result.err.splitlines() == ["recording a game"]
    report = json.loads((run / "evaluation.json").read_bytes())
    assert report["source"] == "final evaluation"
    assert (report["frame"], report["episodes"], report["max_episode_frames"]) == (1280, 3, 160)
    assert report["fingerprint"] == EnvironmentSettings(env="Breakout", max_episode_frames=160).fingerprint()
    actions = ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert set(report["baselines"]) == {"untrained", "random", *(f"always {action}" for action in actions)}
    for player in [report["agent"], *report["baselines"].values()]:
        assert len(player["returns"]) == 3
        assert player["mean"] == np.mean(player["returns"])
    for words in (
        "Breakout: 3 games each, all cut at 160 frames, epsilon 0, agent of frame 1,280",
        "best constant action (",
        "random, published",
        "human, published",
        "agent against untrained: ",
        "agent against random: ",
        f"numbers: {run / 'evaluation.json'}",
        f"learning curve: {run / 'curve.png'}",
        f"video: {film} (",
    ):
        assert words in result.out
    assert film.stat().st_size > 1000
    after = contents(run)
    assert {name for name in after if after[name] != before.get(name)} == {"evaluation.json", "curve.png"}
    again = hadamax(*arguments)
    assert again.code == 0
    assert json.loads((run / "evaluation.json").read_bytes()) == {**report, "baselines": {}}, "the same seed repeats"


def test_evaluates_checkpoints_by_name(run: Path) -> None:
    for name, code in (("latest", 0), ("best", 0), ("1_280", 0), ("1,280", 0), ("1279", 2), ("worst", 2)):
        result = hadamax("evaluate", run, "--episodes", 1, "--max-episode-frames", 40, "--checkpoint", name)
        assert result.code == code, result
        if code:
            assert result.refusal == (f"checkpoint: {name!r} of {run} cannot be used; expected latest, best, 1280")
        else:
            assert "needs two games" in result.out
            assert "Breakout: 1 game, cut at 40 frames, epsilon 0" in result.out
            assert "human_normalised_mean" not in json.loads((run / "evaluation.json").read_bytes())["agent"]
