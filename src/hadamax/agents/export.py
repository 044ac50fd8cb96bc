"""Export a run's agent as a folder that stands by itself, for `hadamax.load` or a model hub.

`README.md` is the model card, `config.json` and `model.safetensors` the agent (see `hadamax.agents.exported`),
`loader.py` loads it without `hadamax.load`, `run.toml` holds the run's settings and `curve.png` its learning curve. The
optimizer, the replay and paths of this machine are left out.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
from safetensors.torch import save

from hadamax.agents import exported
from hadamax.agents.model_card import Card
from hadamax.agents.run_agent import fill, find, make_network
from hadamax.errors import UserError
from hadamax.files import flush_folder, write_flushed
from hadamax.runs.curve import draw_curve
from hadamax.runs.folder import RunFolder

CURVE, LOADER, README, SETTINGS = "curve.png", "loader.py", "README.md", "run.toml"


def export(run: Path, out: Path, checkpoint: str, say: Callable[[str], None]) -> list[Path]:
    """Export the agent of a run to the new folder `out`; return the files.

    It is written beside `out` under another name, flushed and renamed: a kill leaves no half of it.

    Raises:
        UserError: not a run, no such checkpoint, a damaged one or another architecture's; `out` exists, or cannot be
            written.
    """
    folder, algorithm, settings = RunFolder.open(run)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out: {out} exists and nothing is overwritten; choose another folder")
    found = find(folder, checkpoint, say)
    spaces, environment = folder.spaces(), settings.environment.resolved()
    network, description = make_network(spaces, algorithm, settings)
    fill(network, found, folder)
    toml = tomllib.loads(folder.config.read_text())
    config = {
        "format": exported.FORMAT,
        "library": "hadamax",
        "algorithm": algorithm,
        "frame": found.frame,
        "precision": settings.run.precision,
        "action_names": list(spaces.action_names),
        "network": description,
        "environment": {name: value for name, value in asdict(environment).items() if value is not None},
        "fingerprint": environment.fingerprint(),
        "versions": toml.get("versions", {}),
    }
    weights = save({name: x.contiguous() for name, x in found.weights.items()}, {"format": "pt"})
    toml["run"].pop("out", None)  # a path of this machine
    card = Card(config, settings, _evaluation(folder, found.frame), sum(p.numel() for p in network.parameters()))
    files = {
        exported.WEIGHTS: weights,
        exported.CONFIG: exported.seal(config, weights),
        SETTINGS: tomli_w.dumps(toml).encode(),
        LOADER: Path(__file__).with_name("loader.py").read_bytes(),
        README: card.text(CURVE).encode(),
    }
    _write(run, out, files)
    return sorted(out.iterdir())


def _write(run: Path, out: Path, files: dict[str, bytes]) -> None:
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".writing-{out.name}-", dir=out.parent))
        for name, data in files.items():
            write_flushed(temporary / name, data)
        draw_curve(run, temporary / CURVE)
        temporary.chmod(0o755)  # mkdtemp makes it private
        flush_folder(temporary)
        os.rename(temporary, out)  # fails if `out` has been created meanwhile
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"out: {str(out)!r} cannot be written: {reason}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    flush_folder(out.parent)


def _evaluation(folder: RunFolder, frame: int) -> dict[str, Any] | None:
    """Return the run's evaluation if it is of the weights of `frame`."""
    try:
        report = json.loads(folder.evaluation.read_bytes())
        return dict(report) if report["frame"] == frame and len(report["agent"]["returns"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
