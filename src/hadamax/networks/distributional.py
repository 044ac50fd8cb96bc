"""Networks that predict the distribution of returns over fixed atoms, and Rainbow's two streams.

Sources: categorical distributions, Bellemare et al. 2017, arXiv 1707.06887; dueling streams, Wang et al. 2016, arXiv
1511.06581; both, with noisy layers, Hessel et al. 2018, arXiv 1710.02298.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.networks.encoders import Encoder
from hadamax.networks.hadamard import HadamardLinear
from hadamax.networks.heads import QHead
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.names import whole
from hadamax.networks.noisy import NoisyHadamardLinear
from hadamax.networks.specs import Dense


class Categorical(nn.Module):
    """The support of a categorical distribution: `num_atoms` evenly spaced returns from `v_min` to `v_max`."""

    support: Tensor

    def __init__(self, num_atoms: int, v_min: float, v_max: float) -> None:
        super().__init__()
        if not v_min < v_max:
            raise ValueError(f"v_min {v_min} must be below v_max {v_max}")
        support = torch.linspace(v_min, v_max, whole("num_atoms", num_atoms, minimum=2))
        self.register_buffer("support", support, persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Means of the distributions: [..., num_atoms] -> [...]."""
        means: Tensor = (logits.softmax(dim=-1) * self.support).sum(dim=-1)
        return means


class CategoricalNetwork(nn.Module):
    """An encoder and a linear layer: [B, *observation_shape] -> action values, float32 [B, num_actions].

    `logits` gives the distributions: [B, num_actions, num_atoms].
    """

    def __init__(self, encoder: Encoder, num_actions: int, *, num_atoms: int, v_min: float, v_max: float) -> None:
        super().__init__()
        self.settings = {"num_atoms": num_atoms, "v_min": v_min, "v_max": v_max}
        self.encoder = encoder
        self.atoms = Categorical(num_atoms, v_min, v_max)
        self.head = QHead(encoder.features, num_actions * num_atoms, encoder.head_initialiser)

    def logits(self, observations: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(observations))
        return logits.view(len(logits), -1, len(self.atoms.support))

    def forward(self, observations: Tensor) -> Tensor:
        values: Tensor = self.atoms(self.logits(observations))
        return values


class Stream(nn.Module):
    """The encoder's last dense layer and an output layer, noisy or not: [B, in] -> [B, outputs] float32."""

    def __init__(
        self,
        features: int,
        hidden: Dense | None,
        outputs: int,
        initialisers: tuple[InitialiserSetting, InitialiserSetting],
        noise: float,
    ) -> None:
        super().__init__()
        layer: Any = partial(NoisyHadamardLinear, noise=noise) if noise else HadamardLinear
        self.hidden = nn.Sequential()
        if hidden is not None:
            settings = {name: getattr(hidden, name) for name in ("activation", "branches", "combine", "norm", "bias")}
            made = layer(features, hidden.features, initialiser=initialisers[0], **settings)
            self.hidden.append(made)
            features = made.out_features
        self.head = layer(features, outputs, branches=1, activation="identity", initialiser=initialisers[1])

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        # As in `QHead`: bfloat16 cannot represent small differences between actions.
        with torch.autocast(device_type=x.device.type, enabled=False):
            outputs: Tensor = self.head(hidden.to(self.head.weight.dtype))
        return outputs


class RainbowNetwork(nn.Module):
    """Rainbow's network on any encoder: [B, *observation_shape] -> action values, float32 [B, num_actions].

    The encoder without its last dense layer is the trunk. Each stream has a copy of that layer, with its activation and
    branches: one stream for the actions, and with `dueling` one for the state. `noise` (sigma_0, 0 for none) makes the
    streams noisy. With one atom the outputs are the values themselves. Without dueling and noise this is C51's network,
    or DQN's.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_actions: int,
        *,
        dueling: bool = True,
        noise: float = 0.5,
        num_atoms: int = 51,
        v_min: float = -10.0,
        v_max: float = 10.0,
    ) -> None:
        super().__init__()
        self.settings = {"dueling": dueling, "noise": noise, "num_atoms": num_atoms, "v_min": v_min, "v_max": v_max}
        spec = encoder.spec
        self.num_atoms = whole("num_atoms", num_atoms)
        self.atoms = Categorical(num_atoms, v_min, v_max) if num_atoms > 1 else None
        hidden = spec.dense[-1] if spec.dense else None
        trunk = replace(spec, dense=spec.dense[:-1])
        self.trunk = Encoder(trunk, encoder.observation_shape, encoder.input_scale)
        initialisers = spec.dense_initialiser, spec.head_initialiser
        features = self.trunk.features
        self.advantage = Stream(features, hidden, num_actions * num_atoms, initialisers, noise)
        self.value = Stream(features, hidden, num_atoms, initialisers, noise) if dueling else None

    def logits(self, observations: Tensor) -> Tensor:
        """[B, num_actions, num_atoms]."""
        flat = self.trunk(observations)
        logits: Tensor = self.advantage(flat)
        logits = logits.view(len(logits), -1, self.num_atoms)
        if self.value is None:
            return logits
        value: Tensor = self.value(flat)
        return value[:, None, :] + logits - logits.mean(dim=1, keepdim=True)

    def forward(self, observations: Tensor) -> Tensor:
        logits = self.logits(observations)
        values: Tensor = logits.squeeze(2) if self.atoms is None else self.atoms(logits)
        return values
