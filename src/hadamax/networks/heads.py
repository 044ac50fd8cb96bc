"""Heads on encoder features: action values, a policy with a value, and PQN's value network.

Dueling heads, histograms of values and ensembles of heads are forms of `ValueHead` and `ValueNetwork`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hadamax.functional import hl_gauss_value, vote
from hadamax.networks.encoders import Encoder
from hadamax.networks.initialisers import InitialiserSetting, Orthogonal, resolve_initialiser
from hadamax.networks.names import whole


def own_precision_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer in its parameters' dtype, under autocast too.

    bfloat16 cannot represent small differences between actions, and the layer is too small for it to save time.
    """
    if not torch.is_autocast_enabled(x.device.type):  # disabling autocast costs more time than the layer
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


class PolicyValueNetwork(nn.Module):
    """[B, *observation_shape] -> log-probabilities of the actions, float32 [B, num_actions].

    The last layers start orthogonal: gain 0.01 for the policy, nearly uniform at first, and 1 for the value. Source:
    PPO as in CleanRL (Huang et al. 2022).
    """

    score_name = "log-probability"

    def __init__(self, encoder: Encoder, num_actions: int) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {}
        self.encoder = encoder
        self.policy = QHead(encoder.features, num_actions, Orthogonal(0.01))
        self.value = QHead(encoder.features, 1, Orthogonal(1.0))

    def policy_and_value(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, num_actions] and values [B]."""
        features = self.encoder(observations)
        return self.policy(features), self.value(features).squeeze(-1)

    def forward(self, observations: Tensor) -> Tensor:
        logits: Tensor = self.policy(self.encoder(observations))
        return logits.log_softmax(dim=-1)


def duel(streams: Tensor) -> Tensor:
    """V + A - mean A, over the last but one dimension: [..., 1 + action, bin] -> [..., action, bin].

    The first of the streams is V. Source: Wang et al. 2016, arXiv 1511.06581, equation 9; for logits of bins, per
    bin, as Hessel et al. 2018, arXiv 1710.02298, do.
    """
    value, advantages = streams[..., :1, :], streams[..., 1:, :]
    return value + advantages - advantages.mean(dim=-2, keepdim=True)


class ValueHead(QHead):
    """One linear layer: [B, features] -> [B, member, action, bin], in the parameters' dtype.

    With one bin the outputs are Q-values, with more they are logits. Members are independent heads on the same
    features (Osband et al. 2016, arXiv 1602.04621). With `dueling` every member has a value stream beside its
    advantages, linear as they are (arXiv 1511.06581 gives each a hidden layer). One member, one bin and no dueling
    make a `QHead`, weights and random numbers included.
    """

    def __init__(
        self,
        features: int,
        num_actions: int,
        *,
        members: int = 1,
        bins: int = 1,
        dueling: bool = False,
        initialiser: InitialiserSetting = "torch",
    ) -> None:
        streams = whole("num_actions", num_actions) + int(dueling)
        shape = (whole("members", members), streams, whole("bins", bins))
        super().__init__(features, math.prod(shape), initialiser)
        self.shape, self.dueling = shape, dueling

    def forward(self, features: Tensor) -> Tensor:
        streams = super().forward(features).reshape(*features.shape[:-1], *self.shape)
        return duel(streams) if self.dueling else streams

    def extra_repr(self) -> str:
        members, streams, bins = self.shape
        actions = streams - int(self.dueling)
        return f"{self.weight.shape[1]}, {members=}, {actions=}, {bins=}, dueling={self.dueling}"


class ValueNetwork(nn.Module):
    """[B, *observation_shape] -> a score for each action [B, action], the best one the highest.

    The score is the Q-value, or the vote of an ensemble. `centres` [bins] are the bin centres of learned histograms;
    None: values are learned directly.
    """

    centres: Tensor | None

    def __init__(
        self,
        encoder: Encoder,
        num_actions: int,
        *,
        members: int = 1,
        dueling: bool = False,
        centres: Tensor | Sequence[float] | None = None,
        sigma: float = 0.75,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"members": members, "dueling": dueling, "centres": None, "sigma": sigma}
        if centres is not None:
            self.settings["centres"] = centres.tolist() if isinstance(centres, Tensor) else list(centres)
            centres = torch.as_tensor(centres, dtype=torch.float32)
        bins = 1 if centres is None else len(centres)
        initialiser = encoder.head_initialiser
        self.encoder = encoder
        self.head = ValueHead(
            encoder.features, num_actions, members=members, bins=bins, dueling=dueling, initialiser=initialiser
        )
        self.register_buffer("centres", centres, persistent=False)
        self.members, self.sigma = members, sigma
        self.score_name = "Q-value" if members == 1 else "vote"

    def forward(self, observations: Tensor) -> Tensor:
        values = self.values(self.outputs(observations))
        return values.squeeze(1) if self.members == 1 else vote(values)

    def outputs(self, observations: Tensor) -> Tensor:
        """Return what the loss is computed on, [B, member, action, bin]: Q-values, or the logits of their bins."""
        outputs: Tensor = self.head(self.encoder(observations))
        return outputs

    def values(self, outputs: Tensor) -> Tensor:
        """Q-values [B, member, action], or of whatever part of the outputs [..., bin]: [...]."""
        return outputs.squeeze(-1) if self.centres is None else hl_gauss_value(outputs, self.centres)
