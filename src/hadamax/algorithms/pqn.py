"""PQN: parallelised Q-learning without replay and without a target network.

Paper: Gallici et al. 2024, arXiv 2407.04811; settings of HR Table 6 (arXiv 2406.09079).
What differs: a truncated episode bootstraps from its own final observation (the published code treats truncation as
termination), and the step that presses FIRE after a lost life is not learned from.
The plain algorithm has one head and a squared error. Dueling heads, HL-Gauss and an ensemble of heads are switches
(arXiv 2608.07335).

    hadamax train pqn --env Pong --encoder hadamax --frames 40_000_000
    hadamax train pqn --env Pong --preset strongest
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hadamax.algorithms.common.ensemble import Ensemble
from hadamax.algorithms.common.learner import Activity
from hadamax.algorithms.common.on_policy import OnPolicyLearner, Rollout
from hadamax.algorithms.common.settings import (
    AtLeast2,
    CheckedSettings,
    CountFrom0,
    Finite,
    PositiveFloat,
    PositiveInt,
    PositiveProbability,
    Probability,
    require_divisor,
    require_groups,
    require_order,
)
from hadamax.environments import Environments, Step, VectorEnvironment
from hadamax.functional import bin_centres, epsilon_greedy, hl_gauss, lambda_returns, linear
from hadamax.kernels import RAdam
from hadamax.kernels.cuda_graphs import graph_capturer
from hadamax.networks import Encoder
from hadamax.networks.heads import ValueNetwork

# --preset NAME: settings that yield to those given beside it.
PRESETS: dict[str, dict[str, Any]] = {
    # The highest published PQN score that we know of: arXiv 2608.07335.
    "strongest": {"encoder": "hadamax-deep", "dueling": True, "hl_gauss": True, "ensemble": 10},
}


@dataclass(frozen=True)
class PQNSettings(CheckedSettings):
    """PQN, with the values of HR Table 6."""

    num_envs: PositiveInt = 128
    """Environments that are learned from. HR Table 6."""
    num_steps: PositiveInt = 32
    """Steps of each environment between updates. HR Table 6."""
    num_epochs: PositiveInt = 2
    """Passes over a rollout. HR Table 6."""
    num_minibatches: PositiveInt = 32
    """Updates in a pass. HR Table 6."""
    learning_rate: PositiveFloat = 2.5e-4
    """Step size of RAdam. HR Table 6."""
    lr_decay: bool = True
    """Decay the learning rate linearly to 0 over --decay-frames. HR Table 6 (the authors' scripts default to False)."""
    max_grad_norm: PositiveFloat = 10.0
    """Gradients are scaled down to this global norm. HR Table 6."""
    gamma: Probability = 0.99
    """Discount a step. HR Table 6."""
    q_lambda: Probability = 0.65
    """Mix of the lambda-return: 0 one step, 1 Monte Carlo. HR Table 6."""
    epsilon_start: Probability = 1.0
    """Probability of a random action at the start. HR Table 6."""
    epsilon_end: Probability = 0.001
    """Probability of a random action once decayed. HR Table 6."""
    epsilon_decay: PositiveFloat = 0.1
    """Part of --decay-frames over which epsilon falls linearly. HR Table 6."""
    num_test_envs: CountFrom0 = 8
    """Greedy environments stepped beside the others: scored, never learned from, not in the frame count. HR Table 6."""
    dueling: bool = False
    """Learn a value and advantages instead of Q-values. arXiv 2608.07335; Wang et al. 2016."""
    hl_gauss: bool = False
    """Learn values as histograms, by cross-entropy. arXiv 2608.07335; Farebrother et al. 2024."""
    bins: AtLeast2 = 51
    """Bins of the histogram. arXiv 2608.07335."""
    v_min: Finite = -10.0
    """Centre of the lowest bin. arXiv 2608.07335."""
    v_max: Finite = 10.0
    """Centre of the highest bin. arXiv 2608.07335."""
    bin_sigma: PositiveFloat = 0.75
    """Standard deviation of a target's histogram, in bin widths. arXiv 2608.07335."""
    ensemble: PositiveInt = 1
    """Heads on the encoder, each with its own targets; one of them acts in each game. arXiv 2608.07335: 10."""
    mask_probability: PositiveProbability = 1.0
    """Probability that a head learns from a row; 1 disables masks. Osband et al. 2016."""
    env_groups: CountFrom0 = 0
    """Environment groups stepped in alternation (0 = automatic: 2 on a GPU, 1 on a CPU). Not from a paper."""
    redo_every: CountFrom0 = 0
    """Frames between resets of dormant units (ReDo); 0 is never. Sokar et al. 2023: 1,000 updates of DQN."""
    redo_tau: PositiveFloat = 0.025
    """A unit is dormant up to this share of its layer's mean activation. HR Fig. 9."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_divisor(self)
        require_groups(self)
        require_order(self)


class PQN(OnPolicyLearner):
    """One learner and its environments, the last `num_test_envs` of which act greedily and are only scored."""

    settings: PQNSettings

    def __init__(self, settings: PQNSettings, environment: Environments, encoder: Encoder, **options: Any) -> None:
        super().__init__(settings, environment, **options)
        s = settings
        self.network: ValueNetwork = self.place(self.build_network(s, encoder, environment.num_actions))
        self.optimizer: RAdam = RAdam(self.network.parameters(), lr=s.learning_rate)
        shape, dtype = environment.observation_shape, environment.observation_dtype
        self.rollout = Rollout(s.num_steps, s.num_envs, shape, dtype, self.device, value_shape=(s.ensemble,))
        self.ensemble = Ensemble(s.ensemble, s.num_envs, self.generator)
        # On a GPU, `policy_forward` and `learn` run as CUDA graphs, hence their tuples of tensors.
        self.use_graphs(graph_capturer(self.device))

    @staticmethod
    def build_network(settings: PQNSettings, encoder: Encoder, num_actions: int) -> ValueNetwork:
        """Observations [B, *shape] -> Q-values [B, num_actions], or the votes of an ensemble."""
        s = settings
        centres = bin_centres(s.v_min, s.v_max, s.bins) if s.hl_gauss else None
        return ValueNetwork(
            encoder, num_actions, members=s.ensemble, dueling=s.dueling, centres=centres, sigma=s.bin_sigma
        )

    def train_iteration(self) -> dict[str, float]:
        epsilon = self.epsilon()
        with self.clock(Activity.INFERENCE):
            self.collect()
        with self.clock(Activity.LEARNING):
            return {"epsilon": epsilon, **self.update(self.targets())}

    # -- collect ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def collect(self) -> None:
        """Fill the rollout by acting with the current network.

        With several groups of environments, the network acts for one group while the others step.
        """
        last = self.settings.num_steps - 1
        for group in self.environment.groups:
            observations = self.to_device(group.observations)
            self.act(0, group, observations, *self.policy_forward(observations))
        for t in range(last + 1):
            for group in self.environment.groups:
                step = self.receive(t, group)  # also stores rewards (clipped), ends and `agent_acted`
                self.draw_acting_heads(group, step)
                observations = self.to_device(step.observations)
                (q,) = self.policy_forward(observations)
                self.rollout.next_values[t, self.training_slice(group)] = self.next_values(group, step, q)
                if t < last:
                    self.act(t + 1, group, observations, q)

    def policy_forward(self, observations: Tensor) -> tuple[Tensor]:
        """Q-values [B, member, action], float32; without an ensemble there is one member."""
        return (self.values(observations),)

    def act(self, t: int, group: VectorEnvironment, observations: Tensor, q: Tensor) -> None:
        """Start step t of a group with epsilon-greedy actions, greedy ones in test environments."""
        rows = self.training_slice(group)
        n = rows.stop - rows.start
        epsilon = torch.zeros(len(q), device=self.device)
        epsilon[:n] = self.epsilon()
        actions = epsilon_greedy(self.ensemble.act(q, rows), epsilon, self.generator)
        self.rollout.observations[t, rows] = observations[:n]
        self.rollout.actions[t, rows] = actions[:n]
        self.send(group, actions)

    def next_values(self, group: VectorEnvironment, step: Step, q: Tensor) -> Tensor:
        """max_a Q(s_{t+1}, a) [env, member]; where an episode was truncated, s_{t+1} is its final observation."""
        rows = self.training_slice(group)
        best = q.amax(dim=-1)[: rows.stop - rows.start]
        cut = step.truncated[step.ended] & (step.ended < len(best))
        if cut.any():
            final_q = self.values(self.to_device(step.final_observations[cut]))
            best[torch.from_numpy(step.ended[cut]).to(self.device)] = final_q.amax(dim=-1)
        return best

    def draw_acting_heads(self, group: VectorEnvironment, step: Step) -> None:
        """Draw the member of the ensemble that acts in each game that has just begun."""
        begun = group.first + step.ended
        self.ensemble.begin_games(torch.from_numpy(begun[begun < self.settings.num_envs]))

    def epsilon(self) -> float:
        s = self.settings
        return linear(
            s.epsilon_start, s.epsilon_end, self.scheduled(self.iterations) / (s.epsilon_decay * self.decay_iterations)
        )

    # -- targets ------------------------------------------------------------------------------------------------------

    def targets(self) -> Tensor:
        """Lambda-returns [T, E, member] from the Q-values computed while acting, each member's from its own."""
        r, s = self.rollout, self.settings
        shared = (x[..., None].expand_as(r.next_values) for x in (r.rewards, r.terminated, r.truncated))
        rewards, terminated, truncated = shared
        return lambda_returns(rewards, r.next_values, terminated, truncated, gamma=s.gamma, lambda_=s.q_lambda)

    # -- loss ---------------------------------------------------------------------------------------------------------

    @staticmethod
    def loss(network: ValueNetwork, outputs: Tensor, actions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return (losses, Q-values) of the actions taken, both [B, member].

        Half the squared error, or with HL-Gauss the cross-entropy between the target's histogram and the learned one.

        Args:
            outputs: [B, member, action, bin] of the network; one bin without HL-Gauss.
            actions: [B] int64.
            targets: [B, member] lambda-returns.
        """
        _, members, _, bins = outputs.shape
        taken = outputs.gather(2, actions[:, None, None, None].expand(-1, members, 1, bins)).squeeze(2)
        q = network.values(taken)
        if network.centres is None:
            return 0.5 * (q - targets).square(), q
        histograms = hl_gauss(targets, network.centres, network.sigma)
        return -(histograms * taken.log_softmax(dim=-1)).sum(dim=-1), q

    # -- update -------------------------------------------------------------------------------------------------------

    def update(self, targets: Tensor) -> dict[str, float]:
        """Take num_epochs * num_minibatches optimizer steps on the rollout."""
        s, rollout = self.settings, self.rollout
        observations = rollout.observations.flatten(0, 1)
        actions, targets = rollout.actions.flatten(), targets.flatten(0, 1)
        masks = self.ensemble.masks((len(actions),), s.mask_probability)
        # Steps that press FIRE after a lost life are not the agent's.
        weights = rollout.agent_acted.flatten().float()[:, None] * masks  # [row, member]
        rows = observations, actions, targets, weights
        sums = torch.zeros(3, device=self.device)
        updates = s.num_epochs * s.num_minibatches
        for epoch in range(s.num_epochs):
            for i, batch in enumerate(rollout.minibatches(s.num_minibatches, self.generator)):
                done = self.iterations + (epoch * s.num_minibatches + i) / updates
                learning_rate = self.optimizer.param_groups[0]["lr"] = self.learning_rate(done)
                inputs = (*(x.index_select(0, batch) for x in rows), self.optimizer.count_step())
                sums += self.learn(*inputs)[0]
        loss_mean, q_mean, norm_mean = (sums / updates).tolist()
        return {"loss": loss_mean, "q_mean": q_mean, "grad_norm": norm_mean, "learning_rate": learning_rate}

    def learn(
        self, observations: Tensor, actions: Tensor, targets: Tensor, weights: Tensor, numbers: Tensor
    ) -> tuple[Tensor]:
        """Take one optimizer step; return its loss, mean Q-value and gradient norm.

        Args:
            weights: [B, member], 0 for the rows that a member does not learn from.
            numbers: the result of `RAdam.count_step`.
        """
        losses, q = self.loss(self.network, self.outputs(observations), actions, targets)
        loss = (weights * losses).sum() / weights.sum().clamp(min=1)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.optimizer.apply_step(numbers, self.settings.max_grad_norm)  # clips, then steps
        return (torch.stack([loss.detach(), q.detach().mean(), norm]),)

    def learning_rate(self, iteration: float) -> float:
        rate = self.settings.learning_rate
        return linear(rate, 0.0, self.scheduled(iteration) / self.decay_iterations) if self.settings.lr_decay else rate

    # -- the network, the state ---------------------------------------------------------------------------------------

    def outputs(self, observations: Tensor) -> Tensor:
        """The network's outputs [B, member, action, bin], float32."""
        with self.autocast():
            return self.network.outputs(observations).float()

    @torch.no_grad()
    def values(self, observations: Tensor) -> Tensor:
        """Q-values [B, member, action], float32."""
        return self.network.values(self.outputs(observations))

    @torch.no_grad()
    def q_values(self, observations: Tensor) -> Tensor:
        """Q-values (of an ensemble: votes) [B, action], float32, of observations on any device."""
        with self.autocast():
            scores: Tensor = self.network(observations.to(self.device))
        return scores.float()

    def mutated_tensors(self) -> list[list[Tensor]]:
        return self.optimizer.mutated_tensors()

    def begin_games(self) -> None:
        self.ensemble.begin_games(torch.arange(self.settings.num_envs))

    def state_dict(self) -> dict[str, Any]:
        return {**self.ensemble.state_dict(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.ensemble.load_state_dict(state)
