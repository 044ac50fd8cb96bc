"""CSV logs, TensorBoard files, progress lines, and machine information."""

from __future__ import annotations

import csv
import mmap
import os
import pty
import re
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from tests.runs.runs import CARTPOLE, kill_after, make, resumed, train

from hadamax.errors import UserError
from hadamax.runs import machine
from hadamax.runs.logs import Board, CsvLog, Position, ProgressDisplay, duration, read_csv
from hadamax.runs.recorder import WALL_CLOCK


def test_rows_are_appended_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = CsvLog(path)
    assert (log.size(), log.columns) == (0, [])
    log.append([{"frame": 1, "note": 'a "b", c'}, {"frame": 2, "note": ""}])
    size = log.size()
    log.append([{"note": "later", "frame": 3, "unknown": 4}])
    assert path.read_text() == 'frame,note\n1,"a ""b"", c"\n2,\n3,later\n'
    log.cut(size)
    log.append([{"frame": 4}])
    assert [row["frame"] for row in read_csv(path)] == ["1", "2", "4"]
    log.flush()
    log.close()
    again = CsvLog(path)
    assert again.columns == ["frame", "note"]
    again.append([{"frame": 5, "note": "x"}])
    assert read_csv(path)[-1] == {"frame": "5", "note": "x"}
    again.cut(10**9)  # never longer than it is: no zeros are made up
    assert again.size() == len(path.read_bytes()) < 100
    again.cut(0)
    again.append([{"other": 1}])
    assert path.read_text() == "other\n1\n"
    again.close()


def test_incomplete_last_row_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    assert read_csv(path) == []
    for text, frames in (("", []), ("fra", []), ("frame\n", []), ("frame\n1\n2", ["1"]), ("frame\n1\n2\n", ["1", "2"])):
        path.write_text(text)
        assert [row["frame"] for row in read_csv(path)] == frames


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics_bytes": -1},
        {"diagnostics_bytes": -1},
        {"seconds": float("inf")},
        {"averages": {"loss": [float("nan")]}},
        {"logged_frame": -5},
    ],
)
def test_invalid_positions_are_errors(changes: dict[str, object]) -> None:
    about = {"metrics_bytes": 5, "episodes_bytes": 0, "seconds": 1.5, "logged_frame": 3, "averages": {"loss": [1]}}
    assert Position.of(about) == Position(5, 0, 1.5, 3, {"loss": [1.0]}, 0)
    assert Position.of({**about, "diagnostics_bytes": 7}).diagnostics_bytes == 7
    with pytest.raises(ValueError, match="log positions"):
        Position.of({**about, **changes})


def scalars(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars that TensorBoard reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(path)).Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_tensorboard_equals_the_csv(tmp_path: Path) -> None:
    """After a kill, rows past the checkpoint appear once, with their second values."""
    run = tmp_path / "run"
    with closing(make(run, CARTPOLE, frames=640, log_every=64, checkpoint_every=192)) as loop:
        kill_after(loop, 5)
    with resumed(run) as loop:
        assert loop.train()
    rows = read_csv(run / "metrics.csv")
    assert [int(row["frame"]) for row in rows] == list(range(64, 641, 64))
    found = scalars(run)
    assert set(found) == set(rows[0]) - {"frame"}
    for name in set(found) - set(WALL_CLOCK):
        expected = [(int(row["frame"]), float(row[name])) for row in rows if row[name]]
        assert [step for step, _ in found[name]] == [frame for frame, _ in expected], name
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in expected]), name


def test_two_writers_in_one_second_use_two_files(tmp_path: Path) -> None:
    for _ in range(3):
        with closing(Board(tmp_path, 0)) as board:
            board.add({"loss": 0.5}, 10)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 3


def test_metrics_are_averages(tmp_path: Path) -> None:
    with closing(make(tmp_path / "run", CARTPOLE, frames=256, log_every=128)) as loop:
        seen: list[float] = []
        iteration = loop.algorithm.iteration

        def spy() -> object:
            result = iteration()
            seen.append(result.metrics["loss"])
            return result

        loop.algorithm.iteration = spy  # type: ignore[method-assign, assignment]
        assert loop.train()
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    assert [row["frame"] for row in rows] == ["128", "256"]
    for number, row in enumerate(rows):
        assert float(row["loss"]) == pytest.approx(sum(seen[2 * number : 2 * number + 2]) / 2)
        assert set(WALL_CLOCK) <= set(row)
        assert 0 < sum(float(row[name]) for name in ("environment", "inference", "learning")) <= 1.01
        assert float(row["memory_mib"]) > 50
    games = list(csv.DictReader((tmp_path / "run" / "episodes.csv").read_text().splitlines()))
    training = [float(game["raw_return"]) for game in games if game["source"] == "training"][-100:]
    assert float(rows[-1]["training_return"]) == pytest.approx(sum(training) / len(training))
    assert {game["source"] for game in games} == {"training", "test"}


def test_progress_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with ProgressDisplay(1000, 100) as bar:
        for done in range(200, 1001, 100):
            clock[0] += 12
            bar.update(done, "training games 3.0", "environment 50%")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" of ")[0] for line in lines] == ["200", "500", "800", "1,000"]
    assert lines[0] == "200 of 1,000 frames, 8 frames/s (environment 50%), 2 min left; training games 3.0"


def test_durations_in_words() -> None:
    values = (0, 89.4, 90, 3600, 5400, 12000, 1e9)
    said = ["0 s", "89 s", "2 min", "60 min", "1 h 30 min", "3 h 20 min", "277777 h 47 min"]
    assert [duration(seconds) for seconds in values] == said


def test_progress_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                shown.extend(part)
        except OSError:  # the other side is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    for name, value in (("TERM", "xterm"), ("COLUMNS", "150"), ("LINES", "40")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "CI"):
        monkeypatch.delenv(name, raising=False)
    with open(theirs, "w") as terminal, closing(make(tmp_path / "run", CARTPOLE, frames=640)) as loop:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert sys.stderr.isatty()
        assert loop.train()
        monkeypatch.undo()
    reader.join(10)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "100%" in text
    assert "640 frames" in text
    assert re.search(r"[0-9,]+/s", text)
    assert "training games " in text
    assert "Traceback" not in text


def test_run_prints_its_throughput(tmp_path: Path) -> None:
    result = train(tmp_path / "run", CARTPOLE, frames=128)
    pattern = r"128 of 128 frames in \d+ s at [\d,]+ frames/s \(environment \d+%, inference \d+%, learning \d+%\)"
    assert re.fullmatch(pattern, result.out.splitlines()[0])
    assert "score: training games " in result.out
    assert ", greedy test games " in result.out


def test_device_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert machine.choose_device("auto") == machine.choose_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "gpu", "", "cpu:0", "cuda:-1"):
        with pytest.raises(UserError, match=re.escape(f"device: {name!r} is not on this machine; expected auto, cpu")):
            machine.choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.choose_device("auto").type == "cuda"
    assert machine.choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"'cuda:2'.*expected auto, cpu, cuda:0, cuda:1"):
        machine.choose_device("cuda:2")


def test_default_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for native, chosen in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert machine.choose_precision("auto", cpu) == chosen
        assert machine.choose_precision("float32", cpu) == "float32"
        assert machine.choose_precision("bfloat16", cpu) == "bfloat16"
    assert set(machine.PRECISIONS) == {"float32", "bfloat16"}


def test_slow_bfloat16_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert [machine.slower_precision(asked, cpu) for asked in ("auto", "float32", "bfloat16")] == [None] * 3
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert machine.slower_precision("float32", cpu) is None
    for asked, said in (
        ("auto", "precision: float32, since bfloat16 is not native"),
        ("bfloat16", "slower than float32"),
    ):
        assert said in (machine.slower_precision(asked, cpu) or "")


def test_thread_count_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.choose_threads(3) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 4, 5}, raising=False)
    assert machine.choose_threads(0) == 3
    before = machine.resident_mib()
    with mmap.mmap(-1, 50 * 2**20) as ballast:
        ballast.write(b"\1" * len(ballast))
        assert 45 < machine.resident_mib() - before < 110  # the string besides
    monkeypatch.setattr(Path, "read_text", lambda self: "")
    assert machine.resident_mib() == 0.0
