"""Videos: the file plays, and shows exactly the agent's game."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from hadamax.agents.mp4 import Mp4
from hadamax.agents.video import AtariCamera, SidePanel, record_game
from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.environments.play import play
from hadamax.errors import UserError

pytestmark = pytest.mark.end_to_end

Array = np.ndarray[Any, Any]


def agent(actions: int) -> Callable[[Array], Array]:
    """Q-values that depend only on the observation."""
    weights = np.random.default_rng(0).normal(size=(64, actions))
    return lambda seen: seen.reshape(len(seen), -1)[:, -64 * 37 :: 37].astype(float) % 17 @ weights


def constant(*q: float) -> Callable[[Array], Array]:
    return lambda seen: np.array([q] * len(seen))


def decode(path: Path) -> tuple[Any, list[Array]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return (stream.codec_context.name, stream.codec_context.pix_fmt, float(stream.average_rate)), pictures


@pytest.mark.parametrize("protocol", ["papers", "sticky"])
def test_video_shows_the_agents_game(tmp_path: Path, protocol: Any) -> None:
    settings = EnvironmentSettings(env="SpaceInvaders", protocol=protocol, max_episode_frames=403)
    q = agent(make_environment(settings, 1, seed=5).num_actions)
    recording = record_game(q, settings, tmp_path / "game.mp4", seed=5, title="a title")
    (game,) = play(lambda seen: q(seen).argmax(1), settings, 1, seed=5)
    assert (recording.raw_return, recording.steps) == (game.raw_return, game.steps)
    assert recording.finished
    assert recording.seconds == 403 / 60
    facts, pictures = decode(tmp_path / "game.mp4")
    assert facts == ("h264", "yuv420p", 60.0)
    assert len(pictures) == 403
    assert {picture.shape for picture in pictures} == {(630, 1280, 3)}


def test_colours_and_placement(tmp_path: Path) -> None:
    path = tmp_path / "bricks.mp4"
    record_game(constant(1, 0, 0, 0), EnvironmentSettings(env="Breakout"), path, seed=1, max_seconds=0.5)
    _, pictures = decode(path)
    rows = pictures[-1][3 * 59 + 1 : 3 * 92 : 3 * 6, 5 * 80]  # the middle of each row of bricks
    bricks = [[200, 72, 72], [198, 108, 58], [180, 122, 48], [162, 162, 42], [72, 160, 72], [66, 72, 200]]
    assert np.abs(rows.astype(int) - bricks).max() < 12
    assert len({picture[:, 800:].tobytes() for picture in pictures}) > 2  # the panel moves


def test_max_seconds_cuts_and_reports_it(tmp_path: Path) -> None:
    settings, path = EnvironmentSettings(env="Pong", frame_skip=2), tmp_path / "new" / "pong.mp4"
    recording = record_game(agent(6), settings, path, seed=1, epsilon=0.5, max_seconds=0.5)
    assert recording == (recording.raw_return, 15, 0.5, False)
    assert len(decode(path)[1]) == 30


def test_panel_gets_the_played_actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    draw = SidePanel.draw

    def spy(self: SidePanel, q: Array, action: int, played: int, **rest: Any) -> Array:
        told.append((action, played))
        return draw(self, q, action, played, **rest)

    monkeypatch.setattr(SidePanel, "draw", spy)
    settings = EnvironmentSettings(env="Breakout", max_episode_frames=300)
    record_game(constant(0, 0, 1, 0), settings, tmp_path / "a.mp4", seed=1)
    assert set(told) == {(2, 2), (2, 1)}  # RIGHT, and FIRE pressed by the protocol after a lost life


def test_diverging_colour_engine_is_an_error() -> None:
    settings = EnvironmentSettings(env="SpaceInvaders").resolved()
    environment = make_environment(settings, 1, seed=1)
    camera = AtariCamera(environment.engine, settings)
    environment.engine = camera
    environment.reset()
    camera._twin.reset(np.ones(1, bool), np.array([12345]))
    generator = np.random.default_rng(0)

    def play_on() -> None:
        for _ in range(500):
            environment.step(generator.integers(0, 6, 1))

    with pytest.raises(RuntimeError, match="not the agent's"):
        play_on()


def test_minatar_video(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    settings = EnvironmentSettings(env="MinAtar/Breakout-v1", max_episode_frames=20)
    recording = record_game(constant(0, 1, 0), settings, tmp_path / "m.mp4", seed=1)
    facts, pictures = decode(tmp_path / "m.mp4")
    assert facts[2] == 15
    assert len(pictures) == recording.steps == round(recording.seconds * 15)
    assert pictures[0].shape == (630, 1110, 3)
    squares = pictures[0][31::63, 31:630:63]  # the middle of each of 10x10
    assert len(np.unique(squares[1:4].reshape(-1, 3) // 16, axis=0)) == 1  # three rows of bricks, one colour
    assert squares[1, 0].max() > 60
    assert squares[5, 5].max() < 30


def test_unfilmable_games_are_one_line_errors(tmp_path: Path) -> None:
    pong = EnvironmentSettings(env="Pong")
    (tmp_path / "file").write_text("")
    for settings, path, options, words in (
        (EnvironmentSettings(env="CartPole-v1"), tmp_path / "a.mp4", {}, r"video: CartPole-v1 .*Atari and"),
        (pong, tmp_path / "a.gif", {}, r"video: .*\.mp4"),
        (pong, tmp_path / "file" / "a.mp4", {}, "video: .* cannot be written: "),
        (pong, tmp_path / "a.mp4", {"epsilon": 1.5}, "epsilon: 1.5"),
        (pong, tmp_path / "a.mp4", {"max_seconds": 0.0}, "max_seconds: 0.0"),
    ):
        with pytest.raises(UserError, match=words):
            record_game(agent(6), settings, path, seed=1, **options)  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_failure_keeps_the_old_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"\(1, 5\); wanted \(1, 6\)"):
        record_game(constant(1, 2, 3, 4, 5), EnvironmentSettings(env="Pong"), path, seed=1, max_seconds=1)
    with pytest.raises(ValueError, match="not finite"):
        record_game(constant(*[np.nan] * 6), EnvironmentSettings(env="Pong"), path, seed=1, max_seconds=1)
    calls = iter(range(5))

    def breaks(seen: Array) -> Array:
        if next(calls) == 4:
            raise ZeroDivisionError
        return np.zeros((1, 6))

    with pytest.raises(ZeroDivisionError):
        record_game(breaks, EnvironmentSettings(env="Pong"), path, seed=1, max_seconds=1)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_odd_sizes_are_errors(tmp_path: Path) -> None:
    picture = np.zeros((3, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="must be even"), Mp4(tmp_path / "a.mp4", 15) as film:
        film.add(picture, (1, 1), picture)


def test_panel_draws_any_actions_and_values() -> None:
    names = tuple(f"DOWNRIGHTFIRE{i}" for i in range(18))
    panel = SidePanel("MontezumaRevenge" * 3, names, "a very long title " * 10, 15)
    for q in (np.zeros(18), np.full(18, -1e6), np.linspace(-1, 1, 18), np.arange(18) * 1e-9):
        picture = panel.draw(q.astype(np.float32), 17, 1, score=-21.0, seconds=3599.9, random=True)
        assert picture.shape == (630, 480, 3)
        assert picture.dtype == np.uint8
