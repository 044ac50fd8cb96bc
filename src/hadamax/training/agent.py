"""A trained network that plays: no environment, no optimizer, no settings to know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hadamax.algorithms import ALGORITHMS
from hadamax.errors import UserError
from hadamax.functional import epsilon_greedy
from hadamax.training import checkpoints, machine
from hadamax.training.checkpoints import BadCheckpoint, Checkpoint
from hadamax.training.folder import RunFolder
from hadamax.training.run import make_encoder
from hadamax.training.settings import TrainSettings


class Agent:
    """A network with its precision. `frame` is how far it was trained; 0 means not at all."""

    def __init__(self, network: nn.Module, *, device: torch.device, precision: torch.dtype, frame: int) -> None:
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.device, self.precision, self.frame = device, precision, frame

    @torch.no_grad()
    def q_values(self, observations: Any) -> Tensor:
        """Q-values [B, action], float32, on the CPU.

        Args:
            observations: [B, *observation_shape], array or tensor, in the type that the environment gives.

        Raises:
            ValueError, TypeError: observations of another shape or type.
        """
        batch = torch.as_tensor(np.asarray(observations) if not isinstance(observations, Tensor) else observations)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            q: Tensor = self.network(batch.to(self.device))
        return q.float().cpu()

    def act(
        self, observations: Any, epsilon: float = 0.0, generator: torch.Generator | None = None
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The best action for each observation; with probability `epsilon` any action.

        Args:
            observations: [B, *observation_shape], array or tensor.

        Returns:
            [B] int64.
        """
        q = self.q_values(observations)
        actions: np.ndarray[Any, np.dtype[np.int64]]
        actions = epsilon_greedy(q, torch.full(q.shape[:1], epsilon), generator).numpy()
        return actions


def load(path: str | Path, checkpoint: str = "latest", *, device: str = "auto") -> Agent:
    """The agent of a run's folder, `hadamax.load("runs/pong")`.

    Args:
        checkpoint: `latest`, `best`, or a frame.
        device: cpu, cuda, cuda:N, or auto.

    Raises:
        UserError: not a run, or no such checkpoint.
    """
    folder, algorithm, settings = RunFolder.open(Path(path))
    found = find(folder, checkpoint)
    agent = untrained(folder, algorithm, settings, device=device)
    try:
        agent.network.load_state_dict(found.weights)
    except RuntimeError:
        raise UserError(f"checkpoint: frame {found.frame} of {path} holds another architecture's weights") from None
    agent.frame = found.frame
    return agent


def untrained(folder: RunFolder, algorithm: str, settings: TrainSettings[Any], *, device: str = "auto") -> Agent:
    """The agent as it was before its first update."""
    torch.manual_seed(settings.run.seed)
    spaces = folder.spaces()
    encoder = make_encoder(settings.network, spaces)
    network = ALGORITHMS[algorithm].build.build_network(encoder, len(spaces.action_names))
    precision = machine.PRECISIONS[settings.run.precision]
    return Agent(network, device=machine.choose_device(device), precision=precision, frame=0)


def find(folder: RunFolder, checkpoint: str) -> Checkpoint:
    """A run's checkpoint: `latest` that can be read, `best`, or the one at a frame.

    Raises:
        UserError: there is none such.
    """
    if checkpoint == "latest":
        paths = list(checkpoints.newest_first(folder.checkpoints))
    elif checkpoint == "best":
        paths = [path for path in [checkpoints.best(folder.checkpoints)] if path]
    else:
        frame = checkpoint.replace("_", "").replace(",", "")
        paths = [path for path in checkpoints.newest_first(folder.checkpoints) if frame.isdigit() and int(frame) == checkpoints.frame_of(path)]
    reason = ""
    for path in paths:
        try:
            return checkpoints.read(path)
        except BadCheckpoint as error:
            reason = reason or f" ({error})"
    frames = sorted(checkpoints.frame_of(path) for path in checkpoints.newest_first(folder.checkpoints))
    valid = ", ".join(["latest", "best", *map(str, frames)]) if frames else "none yet; train it first"
    raise UserError(f"checkpoint: {checkpoint!r} of {folder.path} cannot be used{reason}; valid: {valid}")
