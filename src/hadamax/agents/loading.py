"""Load an agent from a run's folder or from an exported one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from hadamax.agents import exported
from hadamax.agents.agent import Agent


def load(
    path: str | Path,
    checkpoint: str = "latest",
    *,
    device: str = "auto",
    say: Callable[[str], None] = warnings.warn,
) -> Agent:
    """Load the agent of a run's folder or of an exported one: `hadamax.load("runs/pong")`.

    Nothing in the folder is executed.

    Args:
        checkpoint: `latest`, `best`, or a frame; an exported agent has only the one it was exported from.
        device: cpu, cuda, cuda:N, or auto.
        say: called with a line about each damaged checkpoint that is skipped.

    Raises:
        UserError: neither a run nor an exported agent, no such checkpoint, or files that are damaged.
    """
    if exported.is_exported_agent(Path(path)):
        return exported.read(Path(path), checkpoint, device=device)
    from hadamax.agents.run_agent import load_run  # imports the algorithms, which an exported agent does not need

    return load_run(path, checkpoint, device=device, say=say)
