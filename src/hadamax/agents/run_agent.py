"""The agent of a run: its network with the weights of a checkpoint, or untrained."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hadamax.agents.agent import Agent
from hadamax.algorithms import ALGORITHMS
from hadamax.errors import UserError
from hadamax.networks import describe
from hadamax.runs import checkpoints, machine
from hadamax.runs.checkpoints import BadCheckpoint, Checkpoint, NewerCheckpoint
from hadamax.runs.folder import RunFolder, Spaces
from hadamax.runs.settings import TrainSettings
from hadamax.runs.setup import make_encoder


def load_run(
    path: str | Path,
    checkpoint: str = "latest",
    *,
    device: str = "auto",
    say: Callable[[str], None] = warnings.warn,
) -> Agent:
    """Load the agent of a run's folder.

    Raises:
        UserError: not a run, or no such checkpoint.
    """
    folder, algorithm, settings = RunFolder.open(Path(path))
    found = find(folder, checkpoint, say)
    agent = untrained(folder, algorithm, settings, device=device)
    fill(agent.network, found, folder)
    agent.frame = found.frame
    return agent


def fill(network: nn.Module, found: Checkpoint, folder: RunFolder) -> None:
    """Load a checkpoint's weights into a network.

    Raises:
        UserError: they are another architecture's.
    """
    try:
        network.load_state_dict(found.weights)
    except RuntimeError:
        line = f"checkpoint: frame {found.frame} of {folder.path} holds another architecture's weights"
        raise UserError(f"{line} than {folder.config.name} describes") from None


def untrained(folder: RunFolder, algorithm: str, settings: TrainSettings[Any], *, device: str = "auto") -> Agent:
    """Return the agent before its first update."""
    spaces = folder.spaces()
    network, _ = make_network(spaces, algorithm, settings)
    precision = machine.PRECISIONS[settings.run.precision]
    return Agent(
        network,
        device=machine.choose_device(device),
        precision=precision,
        frame=0,
        takes_bytes=spaces.input_scale == 255.0,  # only images of bytes have this scale
        action_names=spaces.action_names,
    )


def make_network(spaces: Spaces, algorithm: str, settings: TrainSettings[Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Return a run's initial network, drawn from its seed, and its description."""
    num_actions = len(spaces.action_names)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers unchanged
        torch.manual_seed(settings.run.seed)
        encoder = make_encoder(settings.network, spaces)
        network = ALGORITHMS[algorithm].build.build_network(settings.algorithm, encoder, num_actions)
    return network, describe(network, encoder, num_actions)


def find(folder: RunFolder, checkpoint: str, say: Callable[[str], None]) -> Checkpoint:
    """Return a run's checkpoint: the `latest` readable one, the `best`, or the one at a frame.

    Raises:
        UserError: there is none such.
    """
    paths = list(checkpoints.newest_first(folder.checkpoints))
    everything, reason = paths, ""
    if checkpoint == "best":
        paths = [path for path in [checkpoints.best(paths)] if path]
        if everything and not paths:
            reason = " (none has a score: no game had finished)"
    elif checkpoint != "latest":
        frame = checkpoint.replace("_", "").replace(",", "")
        paths = [path for path in paths if str(checkpoints.frame_of(path)) == frame]
    for path in paths:
        try:
            return checkpoints.read(path)
        except NewerCheckpoint as error:
            raise UserError(f"checkpoint: {path} was {error}; this hadamax reads {checkpoints.FORMAT}") from None
        except BadCheckpoint as error:
            reason = reason or f" ({error})"
            if path != paths[-1]:
                say(f"checkpoint {path.name} cannot be used ({error}); trying the one before")
    valid = _valid(everything)
    raise UserError(f"checkpoint: {checkpoint!r} of {folder.path} cannot be used{reason}; expected {valid}")


def _valid(paths: list[Path]) -> str:
    """List the checkpoints that can be read."""
    if not paths:
        return "none yet; train it first"
    whole = [path for path in paths if _is_whole(path)]
    if not whole:
        return "none, since all are damaged; train it again"
    names = ["latest", *(["best"] if checkpoints.best(paths) in whole else [])]
    return ", ".join([*names, *map(str, sorted(map(checkpoints.frame_of, whole)))])


def _is_whole(path: Path) -> bool:
    try:
        checkpoints.read(path)
    except BadCheckpoint:
        return False
    return True
