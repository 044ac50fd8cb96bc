"""A trained network that plays: no environment, no optimizer, no settings to know."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hadamax.algorithms import ALGORITHMS
from hadamax.errors import UserError
from hadamax.functional import epsilon_greedy, sample_actions
from hadamax.training import checkpoints, machine
from hadamax.training.checkpoints import BadCheckpoint, Checkpoint, NewerCheckpoint
from hadamax.training.folder import RunFolder
from hadamax.training.run import make_encoder
from hadamax.training.settings import TrainSettings


class Agent:
    """A network with its precision. `frame` is how far it was trained; 0 means not at all."""

    def __init__(self, network: nn.Module, *, device: torch.device, precision: torch.dtype, frame: int) -> None:
        network = network.to(device).eval()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device, self.precision, self.frame = device, precision, frame
        self.score_name = str(getattr(network, "score_name", "Q-value"))

    @torch.no_grad()
    def q_values(self, observations: Any) -> Tensor:
        """Scores [B, action], float32, on the CPU, the best action the highest: what `score_name` says.

        Args:
            observations: [B, *observation_shape], array or tensor, in the type that the environment gives.

        Raises:
            ValueError, TypeError: observations of another shape or type.
        """
        if not isinstance(observations, Tensor):  # of an array that torch cannot share, a copy
            observations = torch.from_numpy(np.require(observations, requirements=("C", "W")))
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            q: Tensor = self.network(observations.to(self.device))
        return q.float().cpu()

    def act(
        self, observations: Any, epsilon: float = 0.0, generator: torch.Generator | None = None, *, sample: bool = False
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The best action for each observation; with probability `epsilon` any action.

        Args:
            observations: [B, *observation_shape], array or tensor.
            sample: draw the action from the policy, in place of the likeliest.

        Returns:
            [B] int64.

        Raises:
            ValueError: `sample` of an agent that has no policy to draw from.
        """
        if sample and not self.has_policy:
            raise ValueError(f"sample: actions cannot be drawn from a {self.score_name}; valid: agents with a policy")
        q = self.q_values(observations)
        if sample:
            q = torch.nn.functional.one_hot(sample_actions(q, generator), q.shape[1]).float()
        actions: np.ndarray[Any, np.dtype[np.int64]]
        actions = epsilon_greedy(q, torch.full(q.shape[:1], epsilon), generator).numpy()
        return actions

    @property
    def has_policy(self) -> bool:
        """Whether actions can be sampled."""
        return self.score_name == "log-probability"


def load(
    path: str | Path,
    checkpoint: str = "latest",
    *,
    device: str = "auto",
    say: Callable[[str], None] = warnings.warn,
) -> Agent:
    """The agent of a run's folder, `hadamax.load("runs/pong")`.

    Args:
        checkpoint: `latest`, `best`, or a frame.
        device: cpu, cuda, cuda:N, or auto.
        say: is told which checkpoints had to be passed over.

    Raises:
        UserError: not a run, or no such checkpoint.
    """
    folder, algorithm, settings = RunFolder.open(Path(path))
    found = find(folder, checkpoint, say)
    agent = untrained(folder, algorithm, settings, device=device)
    try:
        agent.network.load_state_dict(found.weights)
    except RuntimeError:
        raise UserError(f"checkpoint: frame {found.frame} of {path} holds another architecture's weights") from None
    agent.frame = found.frame
    return agent


def untrained(folder: RunFolder, algorithm: str, settings: TrainSettings[Any], *, device: str = "auto") -> Agent:
    """The agent as it was before its first update."""
    spaces = folder.spaces()
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers go on as they were
        torch.manual_seed(settings.run.seed)
        encoder = make_encoder(settings.network, spaces)
        build = ALGORITHMS[algorithm].build.build_network
        network = build(settings.algorithm, encoder, len(spaces.action_names))
    precision = machine.PRECISIONS[settings.run.precision]
    return Agent(network, device=machine.choose_device(device), precision=precision, frame=0)


def find(folder: RunFolder, checkpoint: str, say: Callable[[str], None]) -> Checkpoint:
    """A run's checkpoint: `latest` that can be read, `best`, or the one at a frame.

    Raises:
        UserError: there is none such.
    """
    paths = list(checkpoints.newest_first(folder.checkpoints))
    frames = sorted(map(checkpoints.frame_of, paths))
    if checkpoint == "best":
        paths = [path for path in [checkpoints.best(paths)] if path]
    elif checkpoint != "latest":
        frame = checkpoint.replace("_", "").replace(",", "")
        paths = [path for path in paths if str(checkpoints.frame_of(path)) == frame]
    reason = ""
    for path in paths:
        try:
            return checkpoints.read(path)
        except NewerCheckpoint as error:
            raise UserError(f"checkpoint: {path} was {error}; this hadamax reads {checkpoints.FORMAT}") from None
        except BadCheckpoint as error:
            reason = reason or f" ({error})"
            if path != paths[-1]:
                say(f"checkpoint {path.name} cannot be used ({error}); trying the one before")
    valid = ", ".join(["latest", "best", *map(str, frames)]) if frames else "none yet; train it first"
    raise UserError(f"checkpoint: {checkpoint!r} of {folder.path} cannot be used{reason}; valid: {valid}")
