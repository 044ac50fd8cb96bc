"""Load the agent of this folder without `hadamax.load`; needs torch, safetensors and `hadamax.networks` only.

from loader import load

act = load()
actions = act(observations)  # a tensor, [B, *observation_shape], as the environment gives it -> [B]
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from hadamax.networks import network_from


def load(folder: Path = Path(__file__).parent) -> Callable[[Tensor], Tensor]:
    """Return the agent's greedy policy."""
    config = json.loads((folder / "config.json").read_text())
    network = network_from(config["network"])
    network.load_state_dict(load_file(folder / "model.safetensors"))
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = getattr(torch, config["precision"])

    @torch.no_grad()
    def act(observations: Tensor) -> Tensor:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            best: Tensor = network(observations).float().argmax(dim=1)
        return best

    return act
