"""A killed, interrupted or moved run ends as the uninterrupted one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.runs.runs import (
    BREAKOUT,
    CARTPOLE,
    SEQUENCE,
    checkpoint,
    frames,
    hadamax,
    kill_after,
    make,
    outcome,
    resumed,
    run_to_the_end,
    same,
    train,
)

from hadamax.algorithms.pqn import PQN
from hadamax.runs import checkpoints, diagnostics
from hadamax.runs import loop as loops
from hadamax.runs.interrupts import Interrupts

Outcomes = Callable[[str], dict[str, Any]]
LENGTH = {
    "frames": 2560,
    "checkpoint_every": 640,
    "log_every": 300,
    "diagnostics_every": 500,
}  # 20 iterations, a checkpoint after each fifth
GAMES = {
    "float32": {**BREAKOUT, **LENGTH},
    "bfloat16": {**BREAKOUT, **LENGTH, "precision": "bfloat16"},
    "cartpole": {**CARTPOLE, **LENGTH, "checkpoint_every": 320},
    "sequence": {**SEQUENCE, **LENGTH, "checkpoint_every": 320},
}


@pytest.fixture(autouse=True, scope="module")
def few_observations() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "OBSERVATIONS", 64)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Return the outcome of a game by name."""

    @cache
    def play(name: str) -> dict[str, Any]:
        whole = run_to_the_end(tmp_path_factory.mktemp(name) / "run", GAMES[name])
        assert len(whole["episodes"].splitlines()) > 2, "games must end for their scores to be compared"
        return whole

    return play


@pytest.mark.parametrize(
    ("name", "moments"),
    [
        pytest.param("float32", [2, 7, 0, 6], marks=pytest.mark.slow),
        pytest.param("bfloat16", [12], marks=pytest.mark.slow),
        ("cartpole", [0, 3, 5, 6, 1, 9]),  # before the first checkpoint, between others, and immediately again
        ("sequence", [4, 9, 6, 11]),  # in different games; the game changes at iterations 10, 20 and 30
    ],
)
def test_resume_equals_uninterrupted_run(tmp_path: Path, undisturbed: Outcomes, name: str, moments: list[int]) -> None:
    run = tmp_path / "run"
    for number, iterations in enumerate(moments):
        with resumed(run) if number else closing(make(run, GAMES[name])) as loop:
            kill_after(loop, iterations)
        with open(run / "episodes.csv", "a") as file:
            file.write("640,train")  # an incomplete row
        with open(run / "metrics.csv", "a") as file:
            file.write("99999,1,2\n9")
    with resumed(run) as loop:
        assert loop.train()
    same(undisturbed(name), outcome(run))


@pytest.mark.kernels
@pytest.mark.end_to_end
def test_resume_with_compiled_kernels_equals_uninterrupted_run(tmp_path: Path) -> None:
    game = {**BREAKOUT, "encoder": "hadamax", "frames": 768, "checkpoint_every": 256}
    whole = run_to_the_end(tmp_path / "whole", game)
    run = tmp_path / "run"
    with closing(make(run, game)) as loop:
        kill_after(loop, 3)
    with resumed(run) as loop:
        assert loop.train()
    same(whole, outcome(run))


def test_different_settings_give_different_outcomes(tmp_path: Path, undisturbed: Outcomes) -> None:
    """The comparison in the other tests can fail."""
    other = run_to_the_end(tmp_path / "run", GAMES["cartpole"], seed=2)
    with pytest.raises(AssertionError):
        same(undisturbed("cartpole"), other)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("long", [False, True])
def test_interrupted_run_prints_the_resume_command(
    tmp_path: Path, undisturbed: Outcomes, monkeypatch: pytest.MonkeyPatch, number: int, long: bool
) -> None:
    """A long iteration is aborted and repeated; a short one is finished first."""
    run, calls = tmp_path / "run", []
    update = PQN.update

    def signalled(self: PQN, targets: Any) -> Any:
        calls.append(self.frames)
        if len(calls) == 8:
            os.kill(os.getpid(), number)
            if long:
                raise AssertionError("the signal should have broken this iteration off")
        return update(self, targets)

    monkeypatch.setattr(PQN, "update", signalled)
    monkeypatch.setattr(loops, "LONG_ITERATION_SECONDS", 0.0 if long else 1e9)
    result = train(run, GAMES["cartpole"])
    done = 7 * 64 if long else 8 * 64
    assert result.code == 130
    assert result.err.splitlines()[-1] == (
        f"interrupted at {done:,} of 2,560 frames, checkpoint written; continue with: hadamax resume {run}"
    )
    assert frames(run) == [320, done]
    assert (run / "curve.png").exists()
    again = hadamax("resume", run)
    assert again.code == 0, again
    assert f"resuming at frame {done} of 2,560" in again.err
    expected, found = undisturbed("cartpole"), outcome(run)
    same({**expected, "frames": 0}, {**found, "frames": 0})
    finished = hadamax("resume", run)
    assert (finished.code, finished.err) == (0, "")
    assert "is finished: 2,560 frames" in finished.out


def test_signal_during_a_checkpoint_stops_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[..., Path] = checkpoints.write

    def signalled(*arguments: Any) -> Path:
        os.kill(os.getpid(), signal.SIGTERM)
        return write(*arguments)

    monkeypatch.setattr(checkpoints, "write", signalled)
    result = train(tmp_path / "run", GAMES["cartpole"])
    assert result.code == 130
    assert "interrupted at 320 of 2,560 frames" in result.err
    assert frames(tmp_path / "run") == [320]


def test_second_sigint_has_its_default_action(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.pending
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # a scheduler and a sweep may send one each
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_max_minutes_stops_with_a_checkpoint(tmp_path: Path) -> None:
    result = train(tmp_path / "run", CARTPOLE, frames=10**9, max_minutes=0.5 / 60)
    assert result.code == 0, result
    (frame,) = frames(tmp_path / "run")
    assert 64 <= frame < 10**6
    assert hadamax("resume", tmp_path / "run").out.startswith(f"{tmp_path / 'run'} is finished: {frame:,} frames")


def test_resume_past_a_damaged_checkpoint_is_exact(tmp_path: Path, undisturbed: Outcomes) -> None:
    run = tmp_path / "run"
    said: list[str] = []
    with closing(make(run, GAMES["cartpole"])) as loop:
        kill_after(loop, 11)
    assert frames(run) == [320, 640]
    (checkpoint(run, 640) / "weights.safetensors").write_bytes(b"")
    with resumed(run, said.append) as loop:
        assert loop.algorithm.frames == 320
        assert loop.train()
    same(undisturbed("cartpole"), outcome(run))
    assert said == [
        "checkpoint frame_000000000640 cannot be used (weights.safetensors is damaged); trying the one before"
    ]
