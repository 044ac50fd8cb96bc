"""A reader that closes the pipe does not stop a run; a command that only prints ends quietly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runs.runs import CARTPOLE, flags, frames

from hadamax.cli.console import tolerate_closed_output


def unread(*arguments: str, standard_error: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command whose output pipe is closed from the start."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, "-m", "hadamax", *arguments],
            stdout=writer,
            stderr=writer if standard_error else subprocess.PIPE,
            text=True,
            timeout=300,
        )
    finally:
        os.close(writer)


@pytest.mark.slow
def test_training_continues_after_the_pipe_closes(tmp_path: Path) -> None:
    done = unread(*flags(tmp_path / "run", CARTPOLE, frames=512, checkpoint_every=128, log_every=64))
    assert done.returncode == 0
    assert frames(tmp_path / "run")[-1] == 512
    assert (tmp_path / "run" / "finished.json").exists()
    assert (tmp_path / "run" / "curve.png").exists()


def test_printing_command_ends_quietly() -> None:
    done = unread("--help", standard_error=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_refusal_keeps_its_exit_code() -> None:
    assert unread("trian").returncode == 2


def test_streams_are_restored() -> None:
    before = sys.stdout, sys.stderr
    with tolerate_closed_output():
        assert sys.stdout is not before[0]
        assert sys.stdout.isatty() == before[0].isatty()
    assert (sys.stdout, sys.stderr) == before
