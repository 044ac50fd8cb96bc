"""Read an exported agent: a folder with a network's description and weights, verified by their hashes.

`config.json` describes the network and says how it was trained; `model.safetensors` is its weights. Neither can carry
code, and nothing else in the folder is read. Both are sealed by their hashes, so that what plays is what was exported.
Written by `hadamax.agents.export`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from hadamax.agents.agent import Agent
from hadamax.errors import UserError, one_line
from hadamax.networks import network_from
from hadamax.runs import machine

FORMAT = 1  # increased when an older hadamax cannot read a newer export
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def is_exported_agent(folder: Path) -> bool:
    """Return True if a folder holds at least one file of an exported agent."""
    try:
        return (folder / CONFIG).is_file() or (folder / WEIGHTS).is_file()
    except OSError:
        return False


def seal(config: dict[str, Any], weights: bytes) -> bytes:
    """Return the text of `config.json`, with the hashes of the weights and of itself."""
    sealed = {**config, "sha256": {WEIGHTS: hashlib.sha256(weights).hexdigest()}}
    sealed["sha256"][CONFIG] = _digest(sealed)
    return (json.dumps(sealed, indent=1) + "\n").encode()


def read(folder: Path, checkpoint: str = "latest", *, device: str = "auto") -> Agent:
    """Read the agent of an exported folder.

    Raises:
        UserError: files that are missing, damaged or changed, a newer format, or another checkpoint than the latest.
    """
    if checkpoint not in ("latest", "best"):
        line = f"checkpoint: {checkpoint!r} of {folder} does not exist; an exported agent has one checkpoint"
        raise UserError(f"{line}, so leave it out")
    config = read_config(folder)
    weights = _read_weights(folder, config)
    try:
        description, frame, precision = config["network"], int(config["frame"]), machine.PRECISIONS[config["precision"]]
        names = tuple(map(str, config["action_names"]))
        _check_names(description, weights, folder)
        with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers unchanged
            network = network_from(description)
        network.load_state_dict(weights)
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
        raise UserError(f"{folder / CONFIG}: does not describe an agent: {one_line(error)}") from None
    return Agent(
        network,
        device=machine.choose_device(device),
        precision=precision,
        frame=frame,
        takes_bytes=description["input_scale"] == 255.0,
        action_names=names,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`.

    Raises:
        UserError: it is missing, damaged or edited, or a newer hadamax wrote it.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_bytes())
        if config["format"] > FORMAT:
            raise UserError(
                f"{path}: format {config['format']} was written by a newer hadamax; this one reads up to {FORMAT}"
            )
        hashes = config["sha256"]
        stated = hashes.pop(CONFIG)
        whole = stated == _digest(config) and set(hashes) == {WEIGHTS}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        line = f"{path}: is damaged, or not an exported agent's: {one_line(error)}"
        raise UserError(f"{line}; export it again") from None
    if not whole:
        raise UserError(f"{path}: is damaged or was changed; export it again")
    return dict(config)


def _read_weights(folder: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != config["sha256"][WEIGHTS]:
            raise UserError(f"{path}: is damaged, or not the weights that {CONFIG} was exported with; export it again")
        return load(data)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except SafetensorError as error:
        raise UserError(f"{path}: is not a safetensors file: {one_line(error)}") from None


def _check_names(description: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> None:
    """Check names and shapes on the meta device, before memory of the claimed size is allocated."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        wanted = {name: _form(x) for name, x in network_from(description).state_dict().items()}
    given = {name: _form(x) for name, x in weights.items()}
    other = "another architecture's weights"
    for what, names in (("lacks", wanted.keys() - given.keys()), ("has one too many:", given.keys() - wanted.keys())):
        if names:
            raise UserError(f"{folder / WEIGHTS}: {what} {', '.join(sorted(names))}: {other}")
    for name, form in wanted.items():
        if given[name] != form:
            raise UserError(f"{folder / WEIGHTS}: {name} is {given[name]}, and {CONFIG} describes {form}: {other}")


def _form(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
