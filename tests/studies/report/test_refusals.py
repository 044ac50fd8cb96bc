"""An impossible report is a one-line error and keeps the old report."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runs.runs import hadamax
from tests.studies.report.conftest import Made
from tests.studies.report.synthetic import write_run, write_study

from hadamax.errors import UserError
from hadamax.studies.report import Choices
from hadamax.studies.report.evidence import gather
from hadamax.studies.report.page import write, written_whole

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return write_study(tmp_path / "runs", ("nature-norm", "hadamax"), ("Pong",), 2, rows=20)


def test_mixed_protocols_are_an_error(runs: Path, tmp_path: Path) -> None:
    write_run(runs, "hadamax", "Pong", 3, rows=20, environment={"protocol": "sticky"})
    refusal = hadamax("report", runs, "--out", tmp_path / "report").refusal
    assert refusal.startswith("protocol: ")
    assert "seed-3" in refusal
    assert "--allow-mixed" in refusal
    assert not (tmp_path / "report").exists()
    (note,) = gather([runs], Choices(mixed=True)).notes
    assert note.startswith("Runs with different protocols are pooled (")


def test_mixed_lengths_are_an_error(runs: Path, tmp_path: Path) -> None:
    write_run(runs, "hadamax", "Pong", 3, rows=20, frames=20_000_000)
    assert hadamax("report", runs, "--out", tmp_path / "report").refusal.startswith("frames: ")


def test_duplicate_runs_are_an_error(runs: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "more", "hadamax", "Pong", 1, rows=20)
    refusal = hadamax("report", runs, tmp_path / "more", "--out", tmp_path / "report").refusal
    assert "are both hadamax, Pong, seed 1" in refusal


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "runs: none given"),
        (["nowhere"], "runs: nowhere is not a folder"),
        (["empty"], "runs: there are no runs in empty"),
        (["runs", "--baseline", "natur-norm"], "baseline: 'natur-norm' is unknown; did you mean 'nature-norm'?"),
        (["runs", "--variants", "hadamx"], "variant: 'hadamx' is unknown; did you mean 'hadamax'?"),
        (["runs", "--replicates", "0"], "replicates: 0 is too small; expected 1 or more"),
        (["runs", "--out", "runs"], "out: runs is not empty and not a report; choose another folder"),
        (["runs", "--out", "file"], "out: file is not empty and not a report; choose another folder"),
        (["runs", "--out", "file/report"], "out: "),
    ],
)
def test_invalid_arguments_are_one_line_errors(
    runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], line: str
) -> None:
    monkeypatch.chdir(runs.parent)
    Path("empty").mkdir()
    Path("file").write_text("mine")
    before = {path: path.read_bytes() for path in sorted(runs.rglob("*")) if path.is_file()}
    assert line in hadamax("report", *arguments).refusal
    assert before == {path: path.read_bytes() for path in sorted(runs.rglob("*")) if path.is_file()}
    assert Path("file").read_text() == "mine"


DIE = """
import os, signal, sys
from pathlib import Path
from hadamax.studies.report.page import write, written_whole
with written_whole(Path(sys.argv[1])) as folder:
    write(folder, "index.html", b"half of a page")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_keeps_the_old_report(made: Made) -> None:
    """Another process dies while writing; the next report removes its leftovers."""
    out = made.out.with_name("killed")
    shutil.copytree(made.out, out)
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert subprocess.run([sys.executable, "-c", DIE, out]).returncode == -signal.SIGKILL
    assert len(list(out.parent.glob(".killed.writing-*"))) == 1
    assert before == {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    with written_whole(out) as folder:
        write(folder, "index.html", b"a whole page")
    assert [path.name for path in out.iterdir()] == ["index.html"]
    assert list(out.parent.glob(".killed*")) == []


def test_write_error_keeps_the_old_report(tmp_path: Path) -> None:
    with written_whole(tmp_path / "report") as folder:
        write(folder, "index.html", b"first")
    with (
        pytest.raises(UserError, match=r"out: .* cannot be written: No space left"),
        written_whole(tmp_path / "report"),
    ):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.rglob("*")] == ["report", "index.html"]
