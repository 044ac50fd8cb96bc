"""C51: Q-learning on the distribution of returns, over 51 atoms.

Paper: Bellemare, Dabney and Munos 2017, arXiv 1707.06887. Settings as in Hadamax (arXiv 2505.15345), which takes them
from CleanRL. Not double.
What differs: a game that a time limit cut bootstraps from its own last observation, and the step that presses FIRE
after a lost life is not learned from.

    hadamax train c51 --env Pong --encoder hadamax-c51
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hadamax.algorithms import off_policy
from hadamax.algorithms.off_policy import OffPolicyLearner
from hadamax.functional import categorical_cross_entropy, categorical_projection, of_actions
from hadamax.networks import Encoder
from hadamax.networks.distributional import CategoricalNetwork
from hadamax.replay.buffer import Batch


@dataclass(frozen=True)
class C51Settings:
    """C51, with the values that Hadamax takes from CleanRL."""

    num_atoms: int = 51
    """Atoms of the distribution of returns. Bellemare et al. 2017."""
    v_min: float = -10.0
    """The lowest atom. Bellemare et al. 2017."""
    v_max: float = 10.0
    """The highest atom. Bellemare et al. 2017."""
    num_envs: int = 1
    """Environments; with more of them the ratio of updates to steps stays. CleanRL: 1."""
    replay_size: int = 1_000_000
    """Transitions kept. CleanRL."""
    replay_device: Literal["cpu", "learner"] = "cpu"
    """Where the replay's frames are kept: cpu, or the learner's device (--device)."""
    batch_size: int = 32
    """Transitions of an update. CleanRL."""
    learning_starts: int = 80_000
    """Agent steps before the first update. CleanRL."""
    train_every: int = 4
    """Agent steps between updates, over all environments. CleanRL."""
    target_every: int = 10_000
    """Agent steps between copies of the network to the target network. CleanRL."""
    learning_rate: float = 2.5e-4
    """Step size of Adam. CleanRL."""
    adam_eps: float = 0.01 / 32
    """Epsilon of Adam: 0.01 / batch_size of 32. CleanRL."""
    gamma: float = 0.99
    """Discount a step. CleanRL."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start. CleanRL."""
    epsilon_end: float = 0.01
    """Probability of a random action once decayed. CleanRL."""
    epsilon_decay: float = 0.1
    """Part of --decay-frames over which epsilon falls linearly. CleanRL."""
    iteration_steps: int = 256
    """Agent steps of an iteration: the least between two log rows or checkpoints. Ours."""

    def __post_init__(self) -> None:
        off_policy.check(self)


class C51(OffPolicyLearner):
    """See `OffPolicyLearner` for what is not said here."""

    settings: C51Settings
    network: CategoricalNetwork
    target_network: CategoricalNetwork

    @staticmethod
    def build_network(settings: C51Settings, encoder: Encoder, num_actions: int) -> nn.Module:
        s = settings
        return CategoricalNetwork(encoder, num_actions, num_atoms=s.num_atoms, v_min=s.v_min, v_max=s.v_max)

    # -- act ----------------------------------------------------------------------------------------------------------

    def act(self, observations: Tensor) -> Tensor:
        return self.epsilon_greedy(observations, self.exploration())

    def exploration(self) -> float:
        return self.epsilon(self.settings.epsilon_start, self.settings.epsilon_end)

    # -- targets ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """The distribution [B, atom] of r + gamma Z'(s', a*), a* the action of the highest mean, on the support."""
        logits = self.forward(self.target_network.logits, batch.next_observations)  # [B, action, atom]
        best = self.network.atoms(logits).argmax(dim=1)
        probabilities = of_actions(logits, best).softmax(dim=1)
        return categorical_projection(probabilities, batch.returns, batch.discounts, self.network.atoms.support)

    # -- update -------------------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> Tensor:
        targets = self.targets(batch)
        logits = self.forward(self.network.logits, batch.observations)
        logits = of_actions(logits, batch.actions)  # [B, atom]
        loss = categorical_cross_entropy(logits, targets).mean()
        self.step_optimizer(loss)
        return torch.stack([loss.detach(), self.network.atoms(logits.detach()).mean()])

    def metrics(self) -> dict[str, float]:
        return {"epsilon": self.exploration()}
