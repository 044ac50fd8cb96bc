"""DQN: Q-learning with a replay and a target network; double by default.

Papers: Mnih et al. 2015 (Nature 518); double: van Hasselt et al. 2016, arXiv 1509.06461, which is equation 5 of HR
(arXiv 2406.09079). Settings of HR Table 4.
What differs: a truncated episode bootstraps from its own final observation, and the step that presses FIRE after a lost
life is not learned from.

    hadamax train dqn --env Pong --encoder nature --activation tanh --branches 2 --layers last
    hadamax train dqn --env Pong --encoder nature --preset cleanrl
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hadamax.algorithms.common.learner import Activity, Iteration
from hadamax.algorithms.common.replay_learner import ReplayLearner
from hadamax.algorithms.common.settings import (
    AtLeast2,
    CheckedSettings,
    CountFrom0,
    PositiveFloat,
    PositiveInt,
    Probability,
)
from hadamax.functional import greedy_values, of_actions
from hadamax.networks import Encoder, QNetwork
from hadamax.replay import Batch

# CleanRL's values, where they differ from HR's equation 5 and Table 4. HR states that it follows CleanRL.
PRESETS: dict[str, dict[str, Any]] = {"cleanrl": {"double": False, "epsilon_end": 0.01, "adam_eps": 1e-8}}


@dataclass(frozen=True)
class DQNSettings(CheckedSettings):
    """DQN, with the values of HR Table 4; those it gives in frames are read as agent steps, as in CleanRL."""

    double: bool = True
    """Select the next action by the online network and evaluate it by the target network. HR equation 5."""
    num_envs: PositiveInt = 1
    """Environments; the ratio of updates to agent steps does not depend on their number. HR: 1."""
    replay_size: AtLeast2 = 1_000_000
    """Transitions kept. HR Table 4."""
    replay_device: Literal["cpu", "learner"] = "cpu"
    """Device that holds the frames of the replay: cpu, or that of the learner (--device)."""
    batch_size: PositiveInt = 32
    """Transitions of an update. HR Table 4."""
    learning_starts: CountFrom0 = 80_000
    """Agent steps before the first update. HR Table 4."""
    train_every: PositiveInt = 4
    """Agent steps between updates, over all environments. CleanRL, which HR says to follow."""
    target_every: PositiveInt = 1000
    """Agent steps between copies of the network to the target network. HR Table 4."""
    learning_rate: PositiveFloat = 1e-4
    """Step size of Adam. HR Table 4."""
    adam_eps: PositiveFloat = 1e-5
    """Epsilon of Adam. HR Table 4."""
    gamma: Probability = 0.99
    """Discount a step. HR Table 4."""
    epsilon_start: Probability = 1.0
    """Probability of a random action at the start. HR Table 4."""
    epsilon_end: Probability = 0.1
    """Probability of a random action once decayed. HR Table 4."""
    epsilon_decay: PositiveFloat = 0.1
    """Part of --decay-frames over which epsilon falls linearly: of the default 40M frames, HR Table 4's 1M steps."""
    iteration_steps: PositiveInt = 256
    """Agent steps of an iteration, the shortest distance between log rows or checkpoints. Not from a paper."""


class DQN(ReplayLearner):
    """One learner, its target network, its environments and its replay."""

    settings: Any  # DQNSettings; subclasses have their own

    @staticmethod
    def build_network(settings: Any, encoder: Encoder, num_actions: int) -> nn.Module:
        return QNetwork(encoder, num_actions)

    def iteration(self) -> Iteration:
        """Take about `iteration_steps` agent steps, and the updates and target copies that they make due."""
        self.games = []
        sums, updates_before = torch.zeros(2, device=self.device), self.updates
        for _ in range(self.batch_steps):
            self.collect()  # one step of every environment, into the replay
            with self.clock(Activity.LEARNING):
                for _ in range(self.updates_due()):
                    sums += self.update(self.sample())
                    self.updates += 1
                if self.multiples_crossed(self.settings.target_every):
                    self.target_network.load_state_dict(self.network.state_dict())
        loss, q_mean = (sums / max(self.updates - updates_before, 1)).tolist()
        metrics = {"loss": loss, "q_mean": q_mean, "updates": float(self.updates), **self.exploration_metrics()}
        return Iteration(metrics, self.games)

    # -- act ----------------------------------------------------------------------------------------------------------

    def act(self, observations: Tensor) -> Tensor:
        return self.epsilon_greedy(observations, self.decayed_epsilon())

    def exploration_metrics(self) -> dict[str, float]:
        return {"epsilon": self.decayed_epsilon()}

    # -- targets ------------------------------------------------------------------------------------------------------

    def sample(self) -> Batch:
        return self.replay.sample(self.settings.batch_size)

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """r + gamma Q'(s', argmax_a Q(s', a)) [B]; r alone where the episode terminated (there the discount is 0).

        Without the double estimator the argmax is that of Q' itself.
        """
        values = self.forward(self.target_network, batch.next_observations)  # [B, action]
        chooser = self.q_values(batch.next_observations) if self.settings.double else None
        return batch.returns + batch.discounts * greedy_values(values, chooser)

    # -- loss and update -----------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> Tensor:
        """Take one optimizer step on the mean squared error; return (loss, mean Q-value of the actions taken)."""
        targets = self.targets(batch)
        q = of_actions(self.forward(self.network, batch.observations), batch.actions)  # [B]
        loss = (q - targets).square().mean()
        self.step_optimizer(loss)
        return torch.stack([loss.detach(), q.detach().mean()])
