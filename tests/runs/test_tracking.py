"""Real offline Weights & Biases runs hold what `metrics.csv` holds, also after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runs.runs import CARTPOLE, flags, hadamax

from hadamax.runs.logs import read_csv

pytest.importorskip("wandb", reason="needs the extra: pip install 'hadamax-rl[wandb]'")
pytestmark = [pytest.mark.slow, pytest.mark.extra("wandb")]
RUN = {"frames": 4096, "checkpoint_every": 256, "log_every": 128, "diagnostics_every": 1024}
BLOCK = 32_768  # of a .wandb file, which is a LevelDB log after seven bytes


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide an offline machine without an API key."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hadamax", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def records(path: Path) -> Iterator[bytes]:
    """Return the complete records of a .wandb file."""
    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts = (b"" if kind in (1, 2) else parts) + data[place + 7 : place + 7 + size]
        place += 7 + size
        if place <= len(data) and kind in (1, 4):  # whole, or the last part
            yield parts


def histories(run: Path) -> list[tuple[str, dict[int, dict[str, float]]]]:
    """Return Return (id, rows by step) of each process that wrote below a run's folder, oldest first."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted((run / "wandb").glob("offline-run-*/run-*.wandb")):
        id_, rows = "", {}
        for data in records(file):
            record = Record.FromString(data)
            id_ = record.run.run_id or id_
            if record.HasField("history"):
                items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                rows[int(items["_step"])] = {key: json.loads(value) for key, value in items.items()}
        found.append((id_, rows))
    return found


def logged(run: Path) -> dict[int, dict[str, float]]:
    """Return the rows of `metrics.csv` by frame."""
    rows = read_csv(run / "metrics.csv")
    return {int(row["frame"]): {k: float(v) for k, v in row.items() if k != "frame" and v} for row in rows}


def test_wandb_equals_the_csv_across_a_resume(tmp_path: Path) -> None:
    run = tmp_path / "study" / "tanh" / "CartPole-v1" / "seed-1"
    process = start(*flags(run, CARTPOLE, **RUN), "--wandb")
    deadline = time.monotonic() + 120
    while len(list((run / "checkpoints").glob("frame_*"))) < 3:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    resumed = start("resume", str(run))
    assert resumed.wait() == 0, resumed.communicate()[0]
    assert "wandb" not in resumed.communicate()[0].replace(str(tmp_path), "")  # no warning of it

    *_, (id_, history) = histories(run)
    assert {path.name.split("-")[-1] for path in (run / "wandb").glob("offline-run-*")} == {id_}
    assert id_ == (run / "wandb" / "id").read_text()
    rows = logged(run)
    assert list(history) == list(rows)  # those before the kill too
    for frame, row in rows.items():
        assert {name: history[frame][name] for name in row} == pytest.approx(row)
    measured = {int(row["frame"]) for row in read_csv(run / "diagnostics.csv")}
    assert {frame for frame, row in history.items() if any("effective_rank" in name for name in row)} == measured
    assert not (tmp_path / "wandb").exists()


def test_missing_extra_is_a_one_line_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    arguments = flags(tmp_path / "run", CARTPOLE, **RUN)
    assert hadamax(*arguments, "--wandb").refusal == "wandb: needs an extra: pip install 'hadamax-rl[wandb]'"
    assert not (tmp_path / "run").exists()
