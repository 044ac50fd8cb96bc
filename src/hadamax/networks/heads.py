"""Heads that map encoder features to action values."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hadamax.networks.encoders import Encoder
from hadamax.networks.initialisers import InitialiserSetting, resolve_initialiser
from hadamax.networks.names import whole


def own_precision_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer in its parameters' dtype, under autocast too.

    Eight bits of a bfloat16 cannot tell apart values of close actions, and a layer that small saves nothing.
    """
    if not torch.is_autocast_enabled(x.device.type):  # switching it off costs more than the layer
        return F.linear(x.to(weight.dtype), weight, bias)
    with torch.autocast(device_type=x.device.type, enabled=False):
        return F.linear(x.to(weight.dtype), weight, bias)


class QHead(nn.Module):
    """One linear layer: [..., features] -> [..., num_actions], in the parameters' dtype, under autocast too."""

    def __init__(self, features: int, num_actions: int, initialiser: InitialiserSetting = "torch") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(whole("num_actions", num_actions), whole("features", features)))
        self.bias = nn.Parameter(torch.empty(num_actions))
        self._initialise = resolve_initialiser(initialiser)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self._initialise(self.weight.detach(), self.bias.detach())

    def forward(self, features: Tensor) -> Tensor:
        return own_precision_linear(features, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"


class QNetwork(nn.Module):
    """An encoder and a `QHead`: [B, *observation_shape] -> action values, float32 [B, num_actions]."""

    def __init__(self, encoder: Encoder, num_actions: int) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {}
        self.encoder = encoder
        self.head = QHead(encoder.features, num_actions, encoder.head_initialiser)

    def forward(self, observations: Tensor) -> Tensor:
        values: Tensor = self.head(self.encoder(observations))
        return values
