"""PQN: parallelised Q-learning without replay and without a target network.

Paper: Gallici et al. 2024, arXiv 2407.04811; settings of HR Table 6 (arXiv 2406.09079).
What differs: returns are cut at truncation and bootstrap from the game's own last observation (the published code
takes a time limit for an end), and the step that presses FIRE after a lost life is not learned from.
The plain algorithm has one head and a squared error; dueling, HL-Gauss and an ensemble are switches, and what they
change stands in `networks/value_network.py` and `ensemble.py`.

    hadamax train pqn --env Pong --encoder hadamax --frames 40_000_000
    hadamax train pqn --env Pong --preset strongest
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hadamax.algorithms.common.contract import Activity, Iteration
from hadamax.algorithms.common.ensemble import Ensemble
from hadamax.algorithms.common.rollout import Rollout
from hadamax.algorithms.on_policy import OnPolicyLearner
from hadamax.algorithms.overlap import Ahead
from hadamax.clock import Clock
from hadamax.environments import Environments, Step, VectorEnvironment
from hadamax.errors import UserError, largest_divisor
from hadamax.functional import bin_centres, epsilon_greedy, lambda_returns, linear
from hadamax.kernels import RAdam
from hadamax.kernels.cuda_graphs import GraphCapturer, GraphedFunction, graph_capturer
from hadamax.networks import Encoder
from hadamax.networks.value_network import ValueNetwork

# --preset NAME: settings that yield to those given beside it.
PRESETS: dict[str, dict[str, Any]] = {
    # The highest published PQN figure known: arXiv 2608.07335.
    "strongest": {"encoder": "hadamax-deep", "dueling": True, "hl_gauss": True, "ensemble": 10},
}


@dataclass(frozen=True)
class PQNSettings:
    """PQN, with the values of HR Table 6."""

    num_envs: int = 128
    """Environments that are learned from. HR Table 6."""
    num_steps: int = 32
    """Steps of each environment between updates. HR Table 6."""
    num_epochs: int = 2
    """Passes over a rollout. HR Table 6."""
    num_minibatches: int = 32
    """Updates in a pass. HR Table 6."""
    learning_rate: float = 2.5e-4
    """Step size of RAdam. HR Table 6."""
    lr_decay: bool = True
    """Decay the learning rate linearly to 0 over --decay-frames. HR Table 6 (the authors' scripts default to False)."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this global norm. HR Table 6."""
    gamma: float = 0.99
    """Discount a step. HR Table 6."""
    q_lambda: float = 0.65
    """Mix of the lambda-return: 0 one step, 1 Monte Carlo. HR Table 6."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start. HR Table 6."""
    epsilon_end: float = 0.001
    """Probability of a random action once decayed. HR Table 6."""
    epsilon_decay: float = 0.1
    """Part of --decay-frames over which epsilon falls linearly. HR Table 6."""
    num_test_envs: int = 8
    """Greedy environments stepped beside the others: scored, never learned from, not in the frame count. HR Table 6."""
    dueling: bool = False
    """A value and advantages in place of Q-values. arXiv 2608.07335; Wang et al. 2016."""
    hl_gauss: bool = False
    """Learn values as histograms, by cross-entropy. arXiv 2608.07335; Farebrother et al. 2024."""
    bins: int = 51
    """Bins of the histogram. arXiv 2608.07335."""
    v_min: float = -10.0
    """Centre of the lowest bin. arXiv 2608.07335."""
    v_max: float = 10.0
    """Centre of the highest bin. arXiv 2608.07335."""
    bin_sigma: float = 0.75
    """Standard deviation of a target's histogram, in bin widths. arXiv 2608.07335."""
    ensemble: int = 1
    """Heads on the encoder, each with its own targets; a game is acted by one of them. arXiv 2608.07335: 10."""
    mask_probability: float = 1.0
    """Probability that a head learns from a row; 1 is no masks. Osband et al. 2016."""
    env_groups: int = 0
    """Groups of environments that take turns: while one plays, the next is acted for; 0: 2 on a card, else 1. Ours."""
    overlap: bool = False
    """Collect the next rollout while learning from the last; the policy that acts is one iteration old. Ours."""
    redo_every: int = 0
    """Frames between resets of dormant units (ReDo); 0 is never. Sokar et al. 2023: 1,000 updates of DQN."""
    redo_tau: float = 0.025
    """A unit is dormant up to this share of its layer's mean activation. HR Fig. 9."""

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "ensemble"):
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
        for name in ("gamma", "q_lambda", "epsilon_start", "epsilon_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}: {getattr(self, name)} is out of range; expected 0 to 1")
        for name in ("learning_rate", "max_grad_norm", "epsilon_decay", "bin_sigma", "redo_tau"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name}: {getattr(self, name)} is out of range; expected a finite number above 0")
        if not 0 < self.mask_probability <= 1:
            raise UserError(f"mask_probability: {self.mask_probability} is out of range; expected above 0, up to 1")
        if self.bins < 2:
            raise UserError(f"bins: {self.bins} is too small; expected 2 or more")
        if not -float("inf") < self.v_min < self.v_max < float("inf"):
            raise UserError(f"v_min: {self.v_min} is not below v_max {self.v_max}; expected finite v_min < v_max")


class PQN(OnPolicyLearner):
    """One learner and its environments, the last `num_test_envs` of which are the greedy ones."""

    def __init__(
        self,
        settings: PQNSettings,
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
        self.network: ValueNetwork = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer: RAdam = RAdam(self.network.parameters(), lr=s.learning_rate)
        self.generator = torch.Generator(device).manual_seed(seed)
        shape, dtype = environment.observation_shape, environment.observation_dtype
        self.rollout = Rollout(s.num_steps, s.num_envs, shape, dtype, device, value_shape=(s.ensemble,))
        self.ensemble = Ensemble(s.ensemble, s.num_envs, self.generator)
        self.frames_per_iteration = s.num_steps * s.num_envs * environment.frames_per_step
        self.decay_iterations = max(decay_frames // self.frames_per_iteration, 1)
        self.iterations = 0
        self.games = []
        self.record(None if s.overlap else graph_capturer(device))
        self.ahead = Ahead(self) if s.overlap else None

    @staticmethod
    def build_network(settings: PQNSettings, encoder: Encoder, num_actions: int) -> ValueNetwork:
        """Observations [B, *shape] -> Q-values [B, num_actions], or the votes of an ensemble."""
        s = settings
        centres = bin_centres(s.v_min, s.v_max, s.bins) if s.hl_gauss else None
        return ValueNetwork(
            encoder, num_actions, members=s.ensemble, dueling=s.dueling, centres=centres, sigma=s.bin_sigma
        )

    def begin_games(self) -> None:
        self.ensemble.begin_games(torch.arange(self.settings.num_envs))

    def iteration(self) -> Iteration:
        self.next_rollout()
        with self.clock(Activity.LEARNING):
            metrics = self.update(self.targets())
        self.iterations += 1
        if self.settings.redo_every:
            with self.clock(Activity.LEARNING):
                metrics["redo_units"] = self.reset_dormant()
        return Iteration({"epsilon": self.epsilon(self.iterations - 1), **metrics}, self.games)

    # -- collect ----------------------------------------------------------------------------------------------------

    def outputs_to_act(self, observations: Tensor) -> tuple[Tensor]:
        return (self.values(observations),)

    def record(self, recorder: GraphCapturer | None) -> None:
        super().record(recorder)
        self.recorded_learn = GraphedFunction(self.learn, recorder, self.optimizer.mutated_tensors)

    def act(self, t: int, rows: slice, outputs: tuple[Tensor, ...]) -> Tensor:
        """Args:
        outputs: Q-values [env, member, action]; plain PQN has one member.
        """
        (values,) = outputs
        epsilon = torch.zeros(len(values), device=self.device)
        epsilon[: rows.stop - rows.start] = self.epsilon(self.iterations)
        actions = epsilon_greedy(self.ensemble.act(values, rows), epsilon, self.generator)
        self.rollout.actions[t, rows] = actions[: rows.stop - rows.start]
        return actions

    def store(self, t: int, group: VectorEnvironment, step: Step) -> None:
        super().store(t, group, step)
        ended = group.first + step.ended
        self.ensemble.begin_games(torch.from_numpy(ended[ended < self.settings.num_envs]))

    def bootstrap(self, t: int, group: VectorEnvironment, outputs: tuple[Tensor, ...], step: Step) -> None:
        rows = self.learned(group)
        best = outputs[0].amax(dim=-1)[: rows.stop - rows.start]  # [env, member]
        cut = step.truncated[step.ended] & (step.ended < len(best))
        if cut.any():
            final_values = self.values(self.to_device(step.final_observations[cut]))
            best[torch.from_numpy(step.ended[cut]).to(self.device)] = final_values.amax(dim=-1)
        self.rollout.next_values[t, rows] = best

    # -- targets ----------------------------------------------------------------------------------------------------

    def targets(self) -> Tensor:
        """Lambda-returns [T, E, member] from the Q-values computed while acting, each member's from its own."""
        r, s = self.rollout, self.settings
        shared = (x[..., None].expand_as(r.next_values) for x in (r.rewards, r.terminated, r.truncated))
        rewards, terminated, truncated = shared
        return lambda_returns(rewards, r.next_values, terminated, truncated, gamma=s.gamma, lambda_=s.q_lambda)

    # -- update -----------------------------------------------------------------------------------------------------

    def update(self, targets: Tensor) -> dict[str, float]:
        s, rollout = self.settings, self.rollout
        observations = rollout.observations.flatten(0, 1)
        actions, targets = rollout.actions.flatten(), targets.flatten(0, 1)
        masks = self.ensemble.masks((len(actions),), s.mask_probability)
        weights = rollout.chosen.flatten().float()[:, None] * masks  # [row, member]
        rows = observations, actions, targets, weights
        sums = torch.zeros(3, device=self.device)
        updates = s.num_epochs * s.num_minibatches
        for epoch in range(s.num_epochs):
            for i, batch in enumerate(rollout.minibatches(s.num_minibatches, self.generator)):
                done = self.iterations + (epoch * s.num_minibatches + i) / updates
                learning_rate = self.optimizer.param_groups[0]["lr"] = self.learning_rate(done)
                minibatch = (x.index_select(0, batch) for x in rows)
                sums += self.recorded_learn(*minibatch, self.optimizer.count_step())[0]
        loss_mean, q_mean, norm_mean = (sums / updates).tolist()
        return {"loss": loss_mean, "q_mean": q_mean, "grad_norm": norm_mean, "learning_rate": learning_rate}

    def learn(
        self, observations: Tensor, actions: Tensor, targets: Tensor, weights: Tensor, step: Tensor
    ) -> tuple[Tensor]:
        """One update on rows, the `step` being what the optimizer counted: loss, mean Q-value, norm of the gradient."""
        losses, q = self.network.loss(self.outputs(observations), actions, targets)
        loss = (weights * losses).sum() / weights.sum().clamp(min=1)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.optimizer.apply_step(step, self.settings.max_grad_norm)
        return (torch.stack([loss.detach(), q.detach().mean(), norm]),)

    # -- schedules, the network, the state ---------------------------------------------------------------------------

    def epsilon(self, iteration: int) -> float:
        s = self.settings
        return linear(s.epsilon_start, s.epsilon_end, iteration / (s.epsilon_decay * self.decay_iterations))

    def learning_rate(self, iteration: float) -> float:
        rate = self.settings.learning_rate
        return linear(rate, 0.0, iteration / self.decay_iterations) if self.settings.lr_decay else rate

    def outputs(self, observations: Tensor) -> Tensor:
        """The network's outputs [B, member, action, bin], float32."""
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            return self.network.outputs(observations).float()

    @torch.no_grad()
    def values(self, observations: Tensor) -> Tensor:
        """Q-values [B, member, action], float32."""
        return self.network.values(self.outputs(observations))

    @torch.no_grad()
    def q_values(self, observations: Tensor) -> Tensor:
        """Q-values (of an ensemble: votes) [B, action], float32, of observations on any device."""
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            scores: Tensor = self.network(observations.to(self.device))
        return scores.float()

    def use_generator(self) -> None:
        self.ensemble = Ensemble(self.settings.ensemble, self.settings.num_envs, self.generator)

    def acting_state(self) -> dict[str, Any]:
        return {**super().acting_state(), **self.ensemble.state_dict()}

    def load_acting_state(self, state: dict[str, Any]) -> None:
        super().load_acting_state(state)
        self.ensemble.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        return {**self.ensemble.state_dict(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.ensemble.load_state_dict(state)
