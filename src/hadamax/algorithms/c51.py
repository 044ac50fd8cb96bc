"""C51: Q-learning on the distribution of returns, over 51 atoms.

Paper: Bellemare, Dabney and Munos 2017, arXiv 1707.06887. Settings as in Hadamax (arXiv 2505.15345), which takes them
from CleanRL. No double estimator.
What differs: a truncated episode bootstraps from its own final observation, and the step that presses FIRE after a lost
life is not learned from. The loop over steps, updates and target copies is DQN's.

    hadamax train c51 --env Pong --encoder hadamax-c51
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hadamax.algorithms.common.settings import (
    AtLeast2,
    CheckedSettings,
    CountFrom0,
    Finite,
    PositiveFloat,
    PositiveInt,
    Probability,
    require_order,
)
from hadamax.algorithms.dqn import DQN
from hadamax.functional import categorical_cross_entropy, categorical_projection, of_actions
from hadamax.networks import Encoder
from hadamax.networks.distributional import CategoricalNetwork
from hadamax.replay import Batch


@dataclass(frozen=True)
class C51Settings(CheckedSettings):
    """C51, with the values that Hadamax takes from CleanRL."""

    num_atoms: AtLeast2 = 51
    """Atoms of the distribution of returns. Bellemare et al. 2017."""
    v_min: Finite = -10.0
    """The lowest atom. Bellemare et al. 2017."""
    v_max: Finite = 10.0
    """The highest atom. Bellemare et al. 2017."""
    num_envs: PositiveInt = 1
    """Environments; the ratio of updates to agent steps does not depend on their number. CleanRL: 1."""
    replay_size: AtLeast2 = 1_000_000
    """Transitions kept. CleanRL."""
    replay_device: Literal["cpu", "learner"] = "cpu"
    """Device that holds the frames of the replay: cpu, or that of the learner (--device)."""
    batch_size: PositiveInt = 32
    """Transitions of an update. CleanRL."""
    learning_starts: CountFrom0 = 80_000
    """Agent steps before the first update. CleanRL."""
    train_every: PositiveInt = 4
    """Agent steps between updates, over all environments. CleanRL."""
    target_every: PositiveInt = 10_000
    """Agent steps between copies of the network to the target network. CleanRL."""
    learning_rate: PositiveFloat = 2.5e-4
    """Step size of Adam. CleanRL."""
    adam_eps: PositiveFloat = 0.01 / 32
    """Epsilon of Adam: 0.01 / batch_size of 32. CleanRL."""
    gamma: Probability = 0.99
    """Discount a step. CleanRL."""
    epsilon_start: Probability = 1.0
    """Probability of a random action at the start. CleanRL."""
    epsilon_end: Probability = 0.01
    """Probability of a random action once decayed. CleanRL."""
    epsilon_decay: PositiveFloat = 0.1
    """Part of --decay-frames over which epsilon falls linearly. CleanRL."""
    iteration_steps: PositiveInt = 256
    """Agent steps of an iteration, the shortest distance between log rows or checkpoints. Not from a paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_order(self)


class C51(DQN):
    """DQN with a distribution of returns for each action in place of its mean."""

    settings: C51Settings
    network: CategoricalNetwork
    target_network: CategoricalNetwork

    @staticmethod
    def build_network(settings: Any, encoder: Encoder, num_actions: int) -> nn.Module:
        s = settings
        return CategoricalNetwork(encoder, num_actions, num_atoms=s.num_atoms, v_min=s.v_min, v_max=s.v_max)

    # -- targets ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """The distribution [B, atom] of r + gamma Z'(s', a*), projected on the support; a* has the highest mean."""
        logits = self.forward(self.target_network.logits, batch.next_observations)  # [B, action, atom]
        best = self.network.atoms(logits).argmax(dim=1)
        probabilities = of_actions(logits, best).softmax(dim=1)
        return categorical_projection(probabilities, batch.returns, batch.discounts, self.network.atoms.support)

    # -- loss and update -----------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> Tensor:
        """Take one optimizer step on the cross-entropy; return (loss, mean Q-value of the actions taken)."""
        targets = self.targets(batch)
        logits = self.forward(self.network.logits, batch.observations)
        logits = of_actions(logits, batch.actions)  # [B, atom]
        loss = categorical_cross_entropy(logits, targets).mean()
        self.step_optimizer(loss)
        return torch.stack([loss.detach(), self.network.atoms(logits.detach()).mean()])
