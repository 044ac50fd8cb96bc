"""A replay's rows round-trip through files, however far the ring advanced since."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from tests.probes import ScriptedEngine, random_events
from tests.replay.oracle import go_on, play

from hadamax.environments import VectorEnvironment
from hadamax.replay import persistence
from hadamax.replay.buffer import Replay
from hadamax.replay.persistence import File, Snapshot, Stored

SIZE, SLACK = 90, 12


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "ROWS_OF_A_FILE", 25)
    monkeypatch.setattr(persistence, "ROWS_AT_ONCE", 7)


class Disk:
    """File storage in memory, by hash."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.rows_written = 0

    def save(self, snapshot: Snapshot) -> Stored:
        files = snapshot.kept()
        for pieces, data in snapshot.pending():
            files.append(File(hashlib.sha256(data).hexdigest(), pieces))
            self.files[files[-1].sha256] = data
            self.rows_written += sum(stop - start for _, start, stop in pieces)
        snapshot.saved(files)
        return Stored(files, lambda file: self.files[file.sha256])


def environment(seed: int = 1) -> VectorEnvironment:
    engine = ScriptedEngine(random_events, 3, stack=4)
    return VectorEnvironment(engine, seed=seed, life_loss_terminal=True, fire_after_life_loss=True)


def another(prioritised: bool = True, **options: Any) -> Replay:
    return play(environment(), 0, n_step=3, size=SIZE, slack=SLACK, prioritised=prioritised, **options)[0]


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """Copy the state as a checkpoint does; rows stay a snapshot."""
    return {k: v if isinstance(v, Snapshot) else torch.as_tensor(v).clone().numpy() for k, v in state.items()} | {
        "generator": state["generator"].clone()
    }


def same(first: Replay, second: Replay) -> None:
    """Assert equal content and draws, also after further steps."""
    assert np.array_equal(first.ready, second.ready)
    assert len(first) == len(second)
    for _ in range(6):
        one, other = first.sample(16, 0.5), second.sample(16, 0.5)
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one, other, strict=True))
        for replay in (first, second):
            if replay.tree is not None:
                replay.prioritise(one.slots, 0.1 + one.slots % 7)


@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize("steps", [0, 5, 40, 333])
def test_replay_round_trips(steps: int, prioritised: bool) -> None:
    """Saved every few steps from a ring that overwrites itself, and loaded over one with other games."""
    games, disk = environment(), Disk()
    replay, oracle = play(games, 0, n_step=3, size=SIZE, slack=SLACK, prioritised=prioritised)
    for done in range(0, steps, 9):
        go_on(games, replay, oracle, min(9, steps - done), seed=done)
        state = replay.state_dict()
        state["rows"] = disk.save(state["rows"])
    state = copied(replay.state_dict())
    state["rows"] = disk.save(state["rows"])
    loaded = another(prioritised)
    go_on(environment(7), loaded, None, 50)
    loaded.load_state_dict(state)
    if len(replay):
        same(replay, loaded)
    assert disk.rows_written == replay.heads.sum()  # each row once


def test_snapshot_does_not_follow_the_ring() -> None:
    """As in an interrupted iteration: the copy is taken before it and written after it began."""
    games, disk = environment(), Disk()
    replay, oracle = play(games, 200, n_step=3, size=SIZE, slack=SLACK, prioritised=True)
    disk.save(replay.state_dict()["rows"])
    go_on(games, replay, oracle, 30, seed=3)
    state = copied(replay.state_dict())
    expected = oracle.transitions(replay)
    go_on(games, replay, oracle, SLACK // 2, seed=4)
    state["rows"] = disk.save(state["rows"])
    loaded = another()
    loaded.load_state_dict(state)
    assert set(np.flatnonzero(loaded.ready)) == set(expected)
    for slot, wanted in expected.items():
        assert np.array_equal(loaded.frames.observations(np.array([slot]))[0], wanted.observation)


def test_unneeded_files_are_deleted() -> None:
    games, disk = environment(), Disk()
    replay, _ = play(games, 30, n_step=1, size=SIZE, slack=SLACK)
    for part in range(20):
        stored = disk.save(replay.state_dict()["rows"])
        go_on(games, replay, None, 10, seed=part)
    rows = sum(stop - start for file in stored.files for _, start, stop in file.pieces)
    assert rows < 3 * replay.capacity + 2 * 25 + 3 * 20


def stored() -> tuple[dict[str, Any], Disk]:
    games, disk = environment(), Disk()
    replay, _ = play(games, 60, n_step=3, size=SIZE, slack=SLACK, prioritised=True)
    state = copied(replay.state_dict())
    state["rows"] = disk.save(state["rows"])
    return state, disk


@pytest.mark.parametrize("wrong", ["first missing", "last missing", "order", "env", "beyond", "other", "short", "size"])
def test_state_of_another_replay_is_an_error(wrong: str) -> None:
    state, disk = stored()
    files, read = state["rows"]
    first = files[0]
    if wrong == "first missing":
        files = files[1:]
    elif wrong == "last missing":
        files = files[:-1]
    elif wrong == "order":
        files = files[::-1]
    elif wrong == "env":
        files = [first._replace(pieces=[first.pieces[0]._replace(env=3)]), *files[1:]]
    elif wrong == "beyond":
        files = [*files, first._replace(pieces=[first.pieces[0]._replace(start=10**9, stop=10**9 + 1)])]
    elif wrong == "other":
        disk.files[first.sha256] = disk.files[files[1].sha256]
    elif wrong == "short":
        disk.files[first.sha256] = disk.files[first.sha256][:-9]
    else:
        state["heads"] = state["heads"][:2]
    # What safetensors raises is an Exception of its own.
    with pytest.raises(Exception, match=r"saved replay|the replay's file|deserializ"):
        another().load_state_dict({**state, "rows": Stored(files, read)})
