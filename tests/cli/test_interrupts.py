"""Ctrl-C exits with 130 during imports, with an application's own handler, and before training starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runs.runs import CARTPOLE, frames, hadamax, train

from hadamax.cli import entry as cli
from hadamax.runs import setup as runs
from hadamax.runs.interrupts import SignalHandler

pytestmark = pytest.mark.end_to_end

LINE = "hadamax: interrupted; what was written stays as it is\n"
# Handlers that libraries put around imports; the signal arrives inside one.
SWALLOWS = """
try:
    import interrupted_import
except:
    pass
def run(arguments):
    print("went on")
    return 0
"""
CODE = (
    "import sys; from hadamax.cli import entry as cli; cli.VERBS['doctor'] = 'swallows'; sys.exit(cli.main(['doctor']))"
)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_interrupt_during_an_import(tmp_path: Path, number: str) -> None:
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    (tmp_path / "interrupted_import.py").write_text(f"import signal; signal.raise_signal(signal.{number})")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", LINE)


def swallowed(error: Exception | None = None) -> None:
    """Raise a signal inside a handler that swallows exceptions."""
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        if error:
            raise error from None


class Verb:
    """A command module whose `run` is interrupted by a signal."""

    error: Exception | None = None

    @classmethod
    def run(cls, arguments: list[str]) -> int:
        swallowed(cls.error)
        return 0


@pytest.mark.parametrize("error", [None, AttributeError("module numpy has no attribute matrix"), cli.UserError("x")])
def test_interrupt_turned_into_another_error_exits_130(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr(Verb, "error", error)
    monkeypatch.setattr(cli, "import_module", lambda name: Verb)
    assert hadamax("doctor") == (130, "", LINE)


def test_interrupt_before_training_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runs, "keep_memory", swallowed)
    result = train(tmp_path / "run", CARTPOLE, frames=10_000)
    assert (result.code, result.out, result.err) == (130, "", LINE)
    assert frames(tmp_path / "run") == []
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == b""
    assert isinstance(signal.getsignal(signal.SIGINT), SignalHandler)  # restored because training did not start
    monkeypatch.undo()
    assert hadamax("resume", tmp_path / "run").code == 0
