"""`hadamax export RUN --out FOLDER`: write a run's agent to a folder that `hadamax.load` plays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hadamax.agents.export import export
from hadamax.cli.console import parse, say


@dataclass(frozen=True)
class Arguments:
    """Write a run's agent to a folder: weights, description, model card, curve and loader."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run."""
    out: str
    """Folder to write; it must not exist yet or be empty."""
    checkpoint: str = "latest"
    """latest, best, or a frame."""


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax export")
    out = Path(given.out)
    for path in export(Path(given.run), out, given.checkpoint, say):
        print(f"{path.name:18} {path.stat().st_size:12,} bytes")
    print(f"agent: {out}; play it with: hadamax.load({str(out)!r}).act(observations)")
    return 0
