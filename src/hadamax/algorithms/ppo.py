"""PPO: a policy improved in small, clipped steps from fresh rollouts.

Paper: Schulman et al. 2017, arXiv 1707.06347; settings of HR Table 5 (arXiv 2406.09079), which are CleanRL's.
What differs: a truncated episode bootstraps from its own final observation (CleanRL treats truncation as termination),
no reset row is learned from, and neither is the step that presses FIRE after a lost life.

    hadamax train ppo --env Pong --encoder nature --activation tanh --branches 2 --layers last
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.algorithms.common.learner import Activity
from hadamax.algorithms.common.on_policy import OnPolicyLearner, PolicyRollout
from hadamax.algorithms.common.settings import (
    CheckedSettings,
    CountFrom0,
    PositiveFloat,
    PositiveInt,
    Probability,
    Weight,
    require_divisor,
    require_groups,
)
from hadamax.environments import Environments, Step, VectorEnvironment
from hadamax.functional import (
    clipped_policy_loss,
    clipped_value_loss,
    entropy,
    gae,
    linear,
    normalised,
    sample_actions,
)
from hadamax.kernels.cuda_graphs import graph_capturer
from hadamax.networks import Encoder, PolicyValueNetwork

METRICS = ("loss", "policy_loss", "value_loss", "entropy", "approximate_kl", "clip_fraction", "grad_norm")


@dataclass(frozen=True)
class PPOSettings(CheckedSettings):
    """PPO, with the values of HR Table 5."""

    num_envs: PositiveInt = 8
    """Environments that are learned from. CleanRL; not stated in HR Table 5."""
    num_steps: PositiveInt = 128
    """Steps of each environment between updates. HR Table 5."""
    num_epochs: PositiveInt = 4
    """Passes over a rollout. HR Table 5."""
    num_minibatches: PositiveInt = 4
    """Updates in a pass. HR Table 5."""
    learning_rate: PositiveFloat = 2.5e-4
    """Step size of Adam. HR Table 5."""
    lr_decay: bool = True
    """Decay the learning rate linearly to 0 over --decay-frames, iteration by iteration. HR Table 5."""
    adam_epsilon: PositiveFloat = 1e-5
    """Added to Adam's denominator. HR Table 5."""
    max_grad_norm: PositiveFloat = 0.5
    """Gradients are scaled down to this global norm. HR Table 5."""
    gamma: Probability = 0.99
    """Discount a step. HR Table 5."""
    gae_lambda: Probability = 0.95
    """Mix of the advantage: 0 one step, 1 Monte Carlo. HR Table 5."""
    clip: PositiveFloat = 0.1
    """Bound on the change of a probability ratio, and of a value, beyond which the gradient is 0. HR Table 5."""
    clip_value: bool = True
    """Clip the change of the value as well. HR Table 5."""
    normalise_advantages: bool = True
    """Normalise advantages to mean 0 and standard deviation 1 in each minibatch. HR Table 5."""
    entropy_coefficient: Weight = 0.01
    """Weight of the entropy bonus. HR Table 5."""
    value_coefficient: Weight = 0.5
    """Weight of the value loss. HR Table 5."""
    orthogonal: bool = True
    """Initialise every layer orthogonally, as CleanRL does; off: hidden layers keep the encoder's own initialiser."""
    num_test_envs: CountFrom0 = 0
    """Environments stepped beside the others, by the likeliest action: scored, never learned from, not counted."""
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


class PPO(OnPolicyLearner):
    """One learner and its environments, the last `num_test_envs` of which act greedily and are only scored."""

    settings: PPOSettings
    rollout: PolicyRollout

    def __init__(self, settings: PPOSettings, environment: Environments, encoder: Encoder, **options: Any) -> None:
        super().__init__(settings, environment, **options)
        s = settings
        self.network: PolicyValueNetwork = self.place(self.build_network(s, encoder, environment.num_actions))
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), eps=s.adam_epsilon, fused=True, capturable=self.device.type == "cuda"
        )
        shape, dtype = environment.observation_shape, environment.observation_dtype
        self.rollout = PolicyRollout(s.num_steps, s.num_envs, shape, dtype, self.device)
        # On a GPU, `policy_forward` and `learn` run as CUDA graphs, hence their tuples of tensors.
        self.use_graphs(graph_capturer(self.device))

    @staticmethod
    def build_network(settings: PPOSettings, encoder: Encoder, num_actions: int) -> PolicyValueNetwork:
        """Observations [B, *shape] -> log-probabilities [B, num_actions]."""
        if settings.orthogonal:
            encoder.initialise("orthogonal")
        return PolicyValueNetwork(encoder, num_actions)

    def train_iteration(self) -> dict[str, float]:
        with self.clock(Activity.INFERENCE):
            self.collect()
        with self.clock(Activity.LEARNING):
            return self.update(self.advantages())

    # -- collect ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def collect(self) -> None:
        """Fill the rollout by acting with the current policy.

        With several groups of environments, the network acts for one group while the others step.
        """
        last = self.settings.num_steps - 1
        for group in self.environment.groups:
            observations = self.to_device(group.observations)
            self.act(0, group, observations, *self.policy_forward(observations))
        for t in range(last + 1):
            for group in self.environment.groups:
                step = self.receive(t, group)  # also stores rewards (clipped), ends and `agent_acted`
                observations = self.to_device(step.observations)
                logits, values = self.policy_forward(observations)
                self.rollout.next_values[t, self.training_slice(group)] = self.next_values(group, step, values)
                if t < last:
                    self.act(t + 1, group, observations, logits, values)

    def policy_forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, action] and values [B], float32, without gradients."""
        with torch.no_grad():
            return self.forward(observations)

    def act(self, t: int, group: VectorEnvironment, observations: Tensor, logits: Tensor, values: Tensor) -> None:
        """Start step t of a group with sampled actions, the likeliest ones in test environments."""
        rows, rollout = self.training_slice(group), self.rollout
        n = rows.stop - rows.start
        actions = sample_actions(logits[:n], self.generator)
        rollout.observations[t, rows] = observations[:n]
        rollout.actions[t, rows] = actions
        rollout.values[t, rows] = values[:n]
        rollout.log_probs[t, rows] = log_probs_of(logits[:n], actions)
        self.send(group, torch.cat([actions, logits[n:].argmax(dim=1)]))

    def next_values(self, group: VectorEnvironment, step: Step, values: Tensor) -> Tensor:
        """V(s_{t+1}) [env]; where an episode was truncated, s_{t+1} is its final observation."""
        rows = self.training_slice(group)
        next_values = values[: rows.stop - rows.start].clone()
        cut = step.truncated[step.ended] & (step.ended < len(next_values))
        if cut.any():
            _, final_values = self.forward(self.to_device(step.final_observations[cut]))
            next_values[torch.from_numpy(step.ended[cut]).to(self.device)] = final_values
        return next_values

    # -- advantages -------------------------------------------------------------------------------------------------

    def advantages(self) -> Tensor:
        """Generalised advantage estimates [T, E] from the values computed while acting."""
        r, s = self.rollout, self.settings
        ends = r.terminated, r.truncated
        return gae(r.rewards, r.values, r.next_values, *ends, gamma=s.gamma, lambda_=s.gae_lambda)

    # -- update -----------------------------------------------------------------------------------------------------

    def update(self, advantages: Tensor) -> dict[str, float]:
        """Take num_epochs * num_minibatches optimizer steps on the rollout."""
        s, rollout = self.settings, self.rollout
        learning_rate = self.learning_rate(self.iterations)
        rate = torch.full((), learning_rate, device=self.device)
        returns = advantages + rollout.values
        stored = rollout.actions, rollout.log_probs, rollout.values, rollout.agent_acted.float(), advantages, returns
        rows = rollout.observations.flatten(0, 1), *(x.flatten() for x in stored)
        sums = torch.zeros(len(METRICS), device=self.device)
        for _ in range(s.num_epochs):
            for batch in rollout.minibatches(s.num_minibatches, self.generator):
                inputs = (*(x.index_select(0, batch) for x in rows), rate)
                sums += self.learn(*inputs)[0]
        means = sums / (s.num_epochs * s.num_minibatches)
        explained = self.explained_variance(returns)
        metrics = dict(zip(METRICS, means.tolist(), strict=True))
        return {**metrics, "explained_variance": explained, "learning_rate": learning_rate}

    def learn(
        self,
        observations: Tensor,
        actions: Tensor,
        old_log_probs: Tensor,
        old_values: Tensor,
        weight: Tensor,
        advantages: Tensor,
        returns: Tensor,
        learning_rate: Tensor,
    ) -> tuple[Tensor]:
        """Take one optimizer step on the rows whose `weight` is 1; return its METRICS."""
        s, weight_sum = self.settings, weight.sum().clamp(min=1)

        def mean(rows: Tensor) -> Tensor:
            return (weight * rows).sum() / weight_sum

        logits, values = self.forward(observations)
        log_probs = log_probs_of(logits, actions)
        if s.normalise_advantages:
            advantages = normalised(advantages, weight)
        policy_loss = mean(clipped_policy_loss(log_probs, old_log_probs, advantages, s.clip))
        reach = s.clip if s.clip_value else float("inf")
        value_loss = mean(clipped_value_loss(values, old_values, returns, reach))
        spread = mean(entropy(logits))
        loss = policy_loss + s.value_coefficient * value_loss - s.entropy_coefficient * spread
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), s.max_grad_norm)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        with torch.no_grad():
            change = log_probs - old_log_probs
            kl = mean(change.exp() - 1 - change)  # Schulman's estimate (k3), never negative
            clipped = mean(((change.exp() - 1).abs() > s.clip).float())
            return (torch.stack([loss, policy_loss, value_loss, spread, kl, clipped, norm]),)

    def explained_variance(self, returns: Tensor) -> float:
        """1 - var(returns - values) / var(returns) of the rollout, before its updates; 0 if all returns are equal."""
        variance = returns.var()
        unexplained = (returns - self.rollout.values).var()
        return float(torch.where(variance > 0, 1 - unexplained / variance.clamp(min=1e-12), 0.0))

    # -- schedule, the network ----------------------------------------------------------------------------

    def learning_rate(self, iteration: int) -> float:
        rate = self.settings.learning_rate
        return linear(rate, 0.0, self.scheduled(iteration) / self.decay_iterations) if self.settings.lr_decay else rate

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, action] and values [B], float32."""
        with self.autocast():
            logits, values = self.network.policy_and_value(observations)
        return logits.float(), values.float()

    @torch.no_grad()
    def q_values(self, observations: Tensor) -> Tensor:
        """Log-probabilities [B, action], float32: scores by which the likeliest action is the best."""
        logits, _ = self.forward(observations.to(self.device))
        return logits.log_softmax(dim=-1)

    def mutated_tensors(self) -> list[list[Tensor]]:
        parameters = list(self.network.parameters())
        states = [self.optimizer.state[p] for p in parameters]
        return [parameters, *([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))]


def log_probs_of(logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probabilities of the actions taken: [B, action], [B] -> [B]."""
    return logits.log_softmax(dim=-1).gather(1, actions[:, None]).squeeze(1)
