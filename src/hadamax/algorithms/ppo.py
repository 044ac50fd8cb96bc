"""PPO: a policy improved in small, clipped steps from fresh rollouts.

Paper: Schulman et al. 2017, arXiv 1707.06347; settings of HR Table 5 (arXiv 2406.09079), which are CleanRL's.
What differs: a game that a time limit cut bootstraps from its own last observation (CleanRL takes it for an end), no
reset row is learned from, and neither is the step that presses FIRE after a lost life.

    hadamax train ppo --env Pong --encoder nature --activation tanh --branches 2 --layers last
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hadamax.algorithms.common.contract import Activity, Iteration
from hadamax.algorithms.common.rollout import PolicyRollout
from hadamax.algorithms.on_policy import OnPolicyLearner
from hadamax.algorithms.overlap import Ahead
from hadamax.clock import Clock
from hadamax.environments import Environments, Step, VectorEnvironment
from hadamax.errors import UserError, largest_divisor
from hadamax.functional import (
    clipped_policy_loss,
    clipped_value_loss,
    entropy,
    gae,
    linear,
    normalised,
    sample_actions,
)
from hadamax.kernels.cuda_graphs import GraphCapturer, GraphedFunction, graph_capturer
from hadamax.networks import Encoder, PolicyValueNetwork

METRICS = ("loss", "policy_loss", "value_loss", "entropy", "approximate_kl", "clip_fraction", "grad_norm")


@dataclass(frozen=True)
class PPOSettings:
    """PPO, with the values of HR Table 5."""

    num_envs: int = 8
    """Environments that are learned from. CleanRL; HR Table 5 does not say."""
    num_steps: int = 128
    """Steps of each environment between updates. HR Table 5."""
    num_epochs: int = 4
    """Passes over a rollout. HR Table 5."""
    num_minibatches: int = 4
    """Updates in a pass. HR Table 5."""
    learning_rate: float = 2.5e-4
    """Step size of Adam. HR Table 5."""
    lr_decay: bool = True
    """Decay the learning rate linearly to 0 over --decay-frames, iteration by iteration. HR Table 5."""
    adam_epsilon: float = 1e-5
    """Added to Adam's denominator. HR Table 5."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm. HR Table 5."""
    gamma: float = 0.99
    """Discount a step. HR Table 5."""
    gae_lambda: float = 0.95
    """Mix of the advantage: 0 one step, 1 Monte Carlo. HR Table 5."""
    clip: float = 0.1
    """How far a probability ratio, and a value, may move before the loss stops pulling. HR Table 5."""
    clip_value: bool = True
    """Clip the value's step as well. HR Table 5."""
    normalise_advantages: bool = True
    """Advantages of mean 0 and deviation 1 in each minibatch. HR Table 5."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy that is added to the objective. HR Table 5."""
    value_coefficient: float = 0.5
    """Weight of the value's loss. HR Table 5."""
    orthogonal: bool = True
    """Orthogonal weights in every layer, as in CleanRL; off: the encoder's own initialiser in the hidden ones."""
    num_test_envs: int = 0
    """Environments stepped beside the others by the likeliest action: scored, never learned from, not in the frames."""
    env_groups: int = 0
    """Groups of environments that take turns: while one plays, the next is acted for; 0: 2 on a card, else 1. Ours."""
    overlap: bool = False
    """Collect the next rollout while learning from the last; the policy that acts is one iteration old. Ours."""
    redo_every: int = 0
    """Frames between resets of dormant units (ReDo); 0 is never. Sokar et al. 2023."""
    redo_tau: float = 0.025
    """A unit is dormant up to this share of its layer's mean activation. HR Fig. 9."""

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is too small; expected 1 or more")
        if not 0 <= self.env_groups <= self.num_envs:
            raise UserError(f"env_groups: {self.env_groups} is out of range; expected 0 to num_envs = {self.num_envs}")
        for name in ("num_test_envs", "redo_every"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}: {getattr(self, name)} is too small; expected 0 or more")
        if self.num_envs * self.num_steps % self.num_minibatches:
            rows = self.num_envs * self.num_steps
            line = f"num_minibatches: {self.num_minibatches} does not divide num_envs x num_steps = {rows}"
            raise UserError(f"{line}; expected a divisor, such as {largest_divisor(rows, self.num_minibatches)}")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}: {getattr(self, name)} is out of range; expected 0 to 1")
        for name in ("learning_rate", "adam_epsilon", "max_grad_norm", "clip", "redo_tau"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name}: {getattr(self, name)} is out of range; expected a finite number above 0")
        for name in ("entropy_coefficient", "value_coefficient"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name}: {getattr(self, name)} is out of range; expected a finite number, 0 or more")


class PPO(OnPolicyLearner):
    """One learner and its environments, the last `num_test_envs` of which are greedy."""

    rollout: PolicyRollout

    def __init__(
        self,
        settings: PPOSettings,
        environment: Environments,
        encoder: Encoder,
        *,
        decay_frames: int,
        reward_clipping: bool,
        device: torch.device,
        precision: torch.dtype,
        seed: int,
        clock: Clock,
    ) -> None:
        s = self.settings = settings
        self.environment = environment
        self.device, self.precision, self.clock = device, precision, clock
        self.reward_clipping = reward_clipping
        network = self.build_network(settings, encoder, environment.num_actions).to(device)
        self.network: PolicyValueNetwork = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), eps=s.adam_epsilon, fused=True, capturable=device.type == "cuda"
        )
        self.generator = torch.Generator(device).manual_seed(seed)
        shape, dtype = environment.observation_shape, environment.observation_dtype
        self.rollout = PolicyRollout(s.num_steps, s.num_envs, shape, dtype, device)
        self.frames_per_iteration = s.num_steps * s.num_envs * environment.frames_per_step
        self.decay_iterations = max(decay_frames // self.frames_per_iteration, 1)
        self.iterations = 0
        self.games = []
        self.record(None if s.overlap else graph_capturer(device))
        self.ahead = Ahead(self) if s.overlap else None

    @staticmethod
    def build_network(settings: PPOSettings, encoder: Encoder, num_actions: int) -> PolicyValueNetwork:
        """Observations [B, *shape] -> log-probabilities [B, num_actions]."""
        if settings.orthogonal:
            encoder.initialise("orthogonal")
        return PolicyValueNetwork(encoder, num_actions)

    def iteration(self) -> Iteration:
        self.next_rollout()
        with self.clock(Activity.LEARNING):
            metrics = self.update(self.advantages())
        self.iterations += 1
        if self.settings.redo_every:
            with self.clock(Activity.LEARNING):
                metrics["redo_units"] = self.reset_dormant(run=self.network.policy_and_value)
        return Iteration(metrics, self.games)

    # -- collect ----------------------------------------------------------------------------------------------------

    def outputs_to_act(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward(observations)

    def record(self, recorder: GraphCapturer | None) -> None:
        super().record(recorder)
        self.recorded_learn = GraphedFunction(self.learn, recorder, self.changes)

    def act(self, t: int, rows: slice, outputs: tuple[Tensor, ...]) -> Tensor:
        """Args:
        outputs: logits [env, action] and values [env].
        """
        (logits, values), n, rollout = outputs, rows.stop - rows.start, self.rollout
        actions = sample_actions(logits[:n], self.generator)
        rollout.actions[t, rows], rollout.values[t, rows] = actions, values[:n]
        rollout.log_probs[t, rows] = log_probs_of(logits[:n], actions)
        return torch.cat([actions, logits[n:].argmax(dim=1)])

    def bootstrap(self, t: int, group: VectorEnvironment, outputs: tuple[Tensor, ...], step: Step) -> None:
        rows = self.learned(group)
        next_values = outputs[1][: rows.stop - rows.start].clone()
        cut = step.truncated[step.ended] & (step.ended < len(next_values))
        if cut.any():
            _, final_values = self.forward(self.to_device(step.final_observations[cut]))
            next_values[torch.from_numpy(step.ended[cut]).to(self.device)] = final_values
        self.rollout.next_values[t, rows] = next_values

    # -- advantages -------------------------------------------------------------------------------------------------

    def advantages(self) -> Tensor:
        """Generalised advantage estimates [T, E] from the values computed while acting."""
        r, s = self.rollout, self.settings
        ends = r.terminated, r.truncated
        return gae(r.rewards, r.values, r.next_values, *ends, gamma=s.gamma, lambda_=s.gae_lambda)

    # -- update -----------------------------------------------------------------------------------------------------

    def update(self, advantages: Tensor) -> dict[str, float]:
        s, rollout = self.settings, self.rollout
        learning_rate = self.learning_rate(self.iterations)
        rate = torch.full((), learning_rate, device=self.device)
        returns = advantages + rollout.values
        stored = rollout.actions, rollout.log_probs, rollout.values, rollout.chosen.float(), advantages, returns
        rows = rollout.observations.flatten(0, 1), *(x.flatten() for x in stored)
        sums = torch.zeros(len(METRICS), device=self.device)
        for _ in range(s.num_epochs):
            for batch in rollout.minibatches(s.num_minibatches, self.generator):
                minibatch = (x.index_select(0, batch) for x in rows)
                sums += self.recorded_learn(*minibatch, rate)[0]
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
        """One update on rows, of which those count whose `weight` is 1; METRICS of it."""
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

    def changes(self) -> list[list[Tensor]]:
        """What an update changes, where it lies, by kind."""
        parameters = list(self.network.parameters())
        of = [self.optimizer.state[p] for p in parameters]
        return [parameters, *([moments[name] for moments in of] for name in ("exp_avg", "exp_avg_sq", "step"))]

    def explained_variance(self, returns: Tensor) -> float:
        """1 - var(returns - values) / var(returns) of the rollout, before its updates; 0 where returns are all one."""
        variance = returns.var()
        unexplained = (returns - self.rollout.values).var()
        return float(torch.where(variance > 0, 1 - unexplained / variance.clamp(min=1e-12), 0.0))

    # -- schedule, the network, the state ----------------------------------------------------------------------------

    def learning_rate(self, iteration: int) -> float:
        rate = self.settings.learning_rate
        return linear(rate, 0.0, iteration / self.decay_iterations) if self.settings.lr_decay else rate

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, action] and values [B], float32."""
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            logits, values = self.network.policy_and_value(observations)
        return logits.float(), values.float()

    @torch.no_grad()
    def q_values(self, observations: Tensor) -> Tensor:
        """Log-probabilities [B, action], float32: the scores by which the policy's mode is the best action."""
        logits, _ = self.forward(observations.to(self.device))
        return logits.log_softmax(dim=-1)


def log_probs_of(logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probabilities of the actions taken: [B, action], [B] -> [B]."""
    return logits.log_softmax(dim=-1).gather(1, actions[:, None]).squeeze(1)
