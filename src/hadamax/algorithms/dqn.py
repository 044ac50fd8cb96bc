"""DQN: Q-learning with a replay and a target network; double by default.

Papers: Mnih et al. 2015 (Nature 518); double: van Hasselt et al. 2016, arXiv 1509.06461, which is equation 5 of HR
(arXiv 2406.09079). Settings of HR Table 4.
What differs: a game that a time limit cut bootstraps from its own last observation, and the step that presses FIRE
after a lost life is not learned from.

    hadamax train dqn --env Pong --encoder nature --activation tanh --branches 2 --layers last
    hadamax train dqn --env Pong --encoder nature --preset cleanrl
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hadamax.algorithms import off_policy
from hadamax.algorithms.off_policy import OffPolicyLearner
from hadamax.functional import greedy_values, of_actions
from hadamax.networks import Encoder, QNetwork
from hadamax.replay.buffer import Batch

# HR says to follow CleanRL, whose script differs from HR's equation 5 and Table 4 in these.
PRESETS: dict[str, dict[str, Any]] = {"cleanrl": {"double": False, "epsilon_end": 0.01, "adam_eps": 1e-8}}


@dataclass(frozen=True)
class DQNSettings:
    """DQN. HR Table 4 counts some values in frames; they are read as agent steps, as CleanRL counts them."""

    double: bool = True
    """Choose the next action by the online network, value it by the target's. HR equation 5."""
    num_envs: int = 1
    """Environments; with more of them the ratio of updates to steps stays. HR: 1."""
    replay_size: int = 1_000_000
    """Transitions kept. HR Table 4."""
    replay_device: Literal["cpu", "learner"] = "cpu"
    """Where the replay's frames are kept: cpu, or the learner's device (--device)."""
    batch_size: int = 32
    """Transitions of an update. HR Table 4."""
    learning_starts: int = 80_000
    """Agent steps before the first update. HR Table 4."""
    train_every: int = 4
    """Agent steps between updates, over all environments. CleanRL, which HR says to follow."""
    target_every: int = 1000
    """Agent steps between copies of the network to the target network. HR Table 4."""
    learning_rate: float = 1e-4
    """Step size of Adam. HR Table 4."""
    adam_eps: float = 1e-5
    """Epsilon of Adam. HR Table 4."""
    gamma: float = 0.99
    """Discount a step. HR Table 4."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start. HR Table 4."""
    epsilon_end: float = 0.1
    """Probability of a random action once decayed. HR Table 4."""
    epsilon_decay: float = 0.1
    """Part of --decay-frames over which epsilon falls linearly: of the default 40M frames, HR Table 4's 1M steps."""
    iteration_steps: int = 256
    """Agent steps of an iteration: the least between two log rows or checkpoints. Ours."""

    def __post_init__(self) -> None:
        off_policy.check(self)


class DQN(OffPolicyLearner):
    """See `OffPolicyLearner` for what is not said here."""

    settings: DQNSettings

    @staticmethod
    def build_network(settings: DQNSettings, encoder: Encoder, num_actions: int) -> nn.Module:
        return QNetwork(encoder, num_actions)

    # -- act ----------------------------------------------------------------------------------------------------------

    def act(self, observations: Tensor) -> Tensor:
        return self.epsilon_greedy(observations, self.exploration())

    def exploration(self) -> float:
        return self.epsilon(self.settings.epsilon_start, self.settings.epsilon_end)

    # -- targets ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """r + gamma Q'(s', argmax_a Q(s', a)) [B]; without the double estimator the argmax is that of Q' itself."""
        values = self.forward(self.target_network, batch.next_observations)  # [B, action]
        chooser = self.q_values(batch.next_observations) if self.settings.double else None
        return batch.returns + batch.discounts * greedy_values(values, chooser)

    # -- update -------------------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> Tensor:
        targets = self.targets(batch)
        q = of_actions(self.forward(self.network, batch.observations), batch.actions)  # [B]
        loss = (q - targets).square().mean()
        self.step_optimizer(loss)
        return torch.stack([loss.detach(), q.detach().mean()])

    def metrics(self) -> dict[str, float]:
        return {"epsilon": self.exploration()}
