"""Rainbow: six improvements of DQN at once, each a switch, so that any subset is an ablation.

Paper: Hessel et al. 2018, arXiv 1710.02298, Table 1. Double (arXiv 1509.06461), prioritised (1511.05952), dueling
(1511.06581), n-step, distributional (1707.06887), noisy (1706.10295).
What differs: a truncated episode bootstraps from its own final observation, and the step that presses FIRE after a lost
life is not learned from. Without noisy layers it explores as C51 does. The loop over steps, updates and target copies
is DQN's.

    hadamax train rainbow --env Pong --encoder nature
    hadamax train rainbow --env Pong --encoder nature --no-noisy --n-step 1
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
from hadamax.functional import (
    categorical_cross_entropy,
    categorical_projection,
    entropy_of,
    greedy_values,
    linear,
    of_actions,
)
from hadamax.networks import Encoder
from hadamax.networks.distributional import RainbowNetwork
from hadamax.networks.noisy import resample_noise
from hadamax.replay import Batch, Replay

PRIORITY_OFFSET = 1e-6  # added to each error, so that every transition can be drawn


@dataclass(frozen=True)
class RainbowSettings(CheckedSettings):
    """Rainbow, with the values of its Table 1."""

    double: bool = True
    """Select the next action by the online network and evaluate it by the target network."""
    prioritised: bool = True
    """Draw transitions with probabilities that grow with their loss."""
    dueling: bool = True
    """Value and advantage streams, each with the encoder's last dense layer."""
    noisy: bool = True
    """Explore by noise on the weights of the streams; off: epsilon-greedily."""
    distributional: bool = True
    """Learn the distribution of returns over atoms; off: their mean, by squared errors."""
    n_step: PositiveInt = 3
    """Steps of reward before the bootstrap; 1 switches multi-step returns off. Rainbow Table 1."""
    num_atoms: AtLeast2 = 51
    """Atoms of the distribution of returns. Rainbow Table 1."""
    v_min: Finite = -10.0
    """The lowest atom. Rainbow Table 1."""
    v_max: Finite = 10.0
    """The highest atom. Rainbow Table 1."""
    noise: PositiveFloat = 0.5
    """Sigma_0 of the noisy layers. Rainbow Table 1."""
    priority_exponent: Probability = 0.5
    """Exponent omega of the priorities; 0 draws uniformly. Rainbow Table 1."""
    beta_start: Probability = 0.4
    """Importance-sampling exponent at the start; it rises to 1 over --decay-frames. Rainbow Table 1."""
    num_envs: PositiveInt = 1
    """Environments; the ratio of updates to agent steps does not depend on their number. Rainbow: 1."""
    replay_size: AtLeast2 = 1_000_000
    """Transitions kept. Rainbow: as DQN."""
    replay_device: Literal["cpu", "learner"] = "cpu"
    """Device that holds the frames of the replay: cpu, or that of the learner (--device)."""
    batch_size: PositiveInt = 32
    """Transitions of an update. Rainbow: as DQN."""
    learning_starts: CountFrom0 = 20_000
    """Agent steps before the first update. Rainbow Table 1: 80K frames."""
    train_every: PositiveInt = 4
    """Agent steps between updates, over all environments. Rainbow: as DQN."""
    target_every: PositiveInt = 8_000
    """Agent steps between copies of the network to the target network. Rainbow Table 1: 32K frames."""
    learning_rate: PositiveFloat = 6.25e-5
    """Step size of Adam. Rainbow Table 1."""
    adam_eps: PositiveFloat = 1.5e-4
    """Epsilon of Adam. Rainbow Table 1."""
    gamma: Probability = 0.99
    """Discount a step. Rainbow: as DQN."""
    epsilon_start: Probability = 1.0
    """Probability of a random action at the start, without noisy layers."""
    epsilon_end: Probability = 0.01
    """Probability of a random action once decayed, without noisy layers. As in C51."""
    epsilon_decay: PositiveFloat = 0.1
    """Part of --decay-frames over which epsilon falls linearly, without noisy layers. As in C51."""
    iteration_steps: PositiveInt = 256
    """Agent steps of an iteration, the shortest distance between log rows or checkpoints. Not from a paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_order(self)


class Rainbow(DQN):
    """DQN with any subset of the six improvements."""

    settings: RainbowSettings
    network: RainbowNetwork
    target_network: RainbowNetwork

    @staticmethod
    def build_network(settings: Any, encoder: Encoder, num_actions: int) -> nn.Module:
        s = settings
        return RainbowNetwork(
            encoder,
            num_actions,
            dueling=s.dueling,
            noise=s.noise if s.noisy else 0.0,
            num_atoms=s.num_atoms if s.distributional else 1,
            v_min=s.v_min,
            v_max=s.v_max,
        )

    def build_replay(self, seed: int, **options: Any) -> Replay:
        s = self.settings
        return super().build_replay(seed, n_step=s.n_step, prioritised=s.prioritised)

    def sample(self) -> Batch:
        return self.replay.sample(self.settings.batch_size, beta=self.beta())

    # -- act ----------------------------------------------------------------------------------------------------------

    def act(self, observations: Tensor) -> Tensor:
        if not self.settings.noisy:
            return super().act(observations)
        resample_noise(self.network, self.generator)
        return self.q_values(observations).argmax(dim=1)

    def exploration_metrics(self) -> dict[str, float]:
        return {"epsilon": 0.0 if self.settings.noisy else self.decayed_epsilon(), "beta": self.beta()}

    def beta(self) -> float:
        """Exponent of the importance-sampling weights."""
        return linear(self.settings.beta_start, 1.0, self.scheduled_steps() / self.decay_steps)

    # -- targets ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """The n-step return: its distribution on the support [B, atom], or without `distributional` its mean [B]."""
        logits = self.forward(self.target_network.logits, batch.next_observations)  # [B, action, atom]
        chooser = self.q_values(batch.next_observations) if self.settings.double else None
        if self.network.atoms is None:
            return batch.returns + batch.discounts * greedy_values(logits.squeeze(2), chooser)
        best = (self.network.atoms(logits) if chooser is None else chooser).argmax(dim=1)
        probabilities = of_actions(logits, best).softmax(dim=1)
        return categorical_projection(probabilities, batch.returns, batch.discounts, self.network.atoms.support)

    # -- loss and update -----------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> Tensor:
        """Take one optimizer step and update priorities; return (loss, mean Q-value of the actions taken)."""
        resample_noise(self.network, self.generator)
        resample_noise(self.target_network, self.generator)
        targets = self.targets(batch)
        logits = self.forward(self.network.logits, batch.observations)
        logits = of_actions(logits, batch.actions)  # [B, atom]
        if self.network.atoms is None:
            q = logits.squeeze(1)
            losses = (q - targets).square()
            errors = losses.detach().sqrt()
        else:
            q = self.network.atoms(logits.detach())
            losses = categorical_cross_entropy(logits, targets)
            errors = (losses.detach() - entropy_of(targets)).clamp(min=0)  # the Kullback-Leibler divergence
        loss = (batch.weights * losses).mean()
        self.step_optimizer(loss)
        if self.settings.prioritised:
            priorities = (errors + PRIORITY_OFFSET) ** self.settings.priority_exponent
            self.replay.prioritise(batch.slots, priorities.cpu().numpy())
        return torch.stack([loss.detach(), q.detach().mean()])
