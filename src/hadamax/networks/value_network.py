"""PQN's network: an encoder and a head, plain, dueling, of histograms, or an ensemble of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.functional import hl_gauss_value, vote
from hadamax.networks.encoders import Encoder
from hadamax.networks.value_heads import ValueHead


class ValueNetwork(nn.Module):
    """[B, *observation_shape] -> a score for each action [B, action], the best one the highest.

    The score is the Q-value; of an ensemble it is the vote. `centres` [bins] are those of the histograms that values
    are learned as; None: values are learned directly.
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
