"""A policy and a value on one encoder."""

from typing import Any

from torch import Tensor, nn

from hadamax.networks.encoders import Encoder
from hadamax.networks.heads import QHead
from hadamax.networks.initialisers import Orthogonal


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
