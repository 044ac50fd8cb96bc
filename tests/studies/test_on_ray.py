"""Missing Ray or an unreachable Ray address is a one-line error within seconds. Ray itself: test_chaos.py."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runs.runs import hadamax

STUDY = 'algorithm = "pqn"\ngames = ["CartPole-v1"]\n[settings]\nframes = 512\nencoder = "mlp"\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "small.toml").write_text(STUDY)


def refusal(address: str) -> str:
    start = time.monotonic()
    line = hadamax("sweep", "small.toml", "--engine", "ray", "--ray-address", address).refusal
    assert time.monotonic() - start < 30
    assert not Path("runs").exists()
    return line


@pytest.fixture
def taken() -> Iterator[int]:
    """Open a port that accepts connections and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.extra("ray")
@pytest.mark.slow
def test_unreachable_address_is_a_one_line_error(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    nobody = f"ray_address: no Ray cluster at '127.0.0.1:{free}': Connection refused; start one with: "
    assert refusal(f"127.0.0.1:{free}").startswith(nobody)
    assert refusal(f"127.0.0.1:{taken}").startswith(f"ray_address: no Ray cluster at '127.0.0.1:{taken}': ")
    for wrong in ("here", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", ":6379"):
        assert refusal(wrong).startswith(f"ray_address: {wrong!r} is not an address; expected HOST:PORT")


def test_missing_extra_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refusal("127.0.0.1:6379") == "engine: 'ray' needs an extra: pip install 'hadamax-rl[ray]'"
