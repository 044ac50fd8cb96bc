"""PQN: parallelised Q-learning without replay and without a target network.

Paper: Gallici et al. 2024, arXiv 2407.04811; settings of HR Table 6 (arXiv 2406.09079).
What differs: returns are cut at truncation and bootstrap from the game's own last observation (the published code
takes a time limit for an end), and the step that presses FIRE after a lost life is not learned from.

    hadamax train pqn --env Pong --encoder hadamax --frames 40_000_000
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.algorithms.contract import Activity, FinishedGame, Iteration
from hadamax.clock import Clock
from hadamax.data.rollout import Rollout
from hadamax.environments import Step, VectorEnvironment
from hadamax.errors import UserError
from hadamax.functional import epsilon_greedy, lambda_returns, linear
from hadamax.kernels import RAdam
from hadamax.networks import Encoder, QNetwork


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

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is too small; valid: 1 or more")
        if self.num_test_envs < 0:
            raise UserError(f"num_test_envs: {self.num_test_envs} is too small; valid: 0 or more")
        if self.num_envs * self.num_steps % self.num_minibatches:
            rows = self.num_envs * self.num_steps
            raise UserError(f"num_minibatches: {self.num_minibatches} does not divide num_envs x num_steps = {rows}")
        for name in ("gamma", "q_lambda", "epsilon_start", "epsilon_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}: {getattr(self, name)} is out of range; valid: 0 to 1")
        for name in ("learning_rate", "max_grad_norm", "epsilon_decay"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name}: {getattr(self, name)} is out of range; valid: a finite number above 0")


class PQN:
    """One learner and its environments, the last `num_test_envs` of which are the greedy ones."""

    def __init__(
        self,
        settings: PQNSettings,
        environment: VectorEnvironment,
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
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = RAdam(self.network.parameters(), lr=s.learning_rate)
        self.generator = torch.Generator(device).manual_seed(seed)
        shape, dtype = environment.observation_shape, environment.observation_dtype
        self.rollout = Rollout(s.num_steps, s.num_envs, shape, dtype, device)
        self.frames_per_iteration = s.num_steps * s.num_envs * environment.frames_per_step
        self.decay_iterations = max(decay_frames // self.frames_per_iteration, 1)
        self.iterations = 0
        self.games: list[FinishedGame] = []

    @staticmethod
    def environments(settings: PQNSettings) -> int:
        """How many environments the learner steps in all."""
        return settings.num_envs + settings.num_test_envs

    @staticmethod
    def build_network(settings: PQNSettings, encoder: Encoder, num_actions: int) -> nn.Module:
        """Observations [B, *shape] -> Q-values [B, num_actions]."""
        return QNetwork(encoder, num_actions)

    @property
    def frames(self) -> int:
        return self.iterations * self.frames_per_iteration

    def reset(self) -> None:
        self.environment.reset()

    def iteration(self) -> Iteration:
        self.games = []
        self.collect()
        with self.clock(Activity.LEARNING):
            metrics = self.update(self.targets())
        self.iterations += 1
        return Iteration({"epsilon": self.epsilon(self.iterations - 1), **metrics}, self.games)

    # -- collect ----------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        s, rollout = self.settings, self.rollout
        epsilon = torch.zeros(self.environment.num_envs, device=self.device)
        epsilon[: s.num_envs] = self.epsilon(self.iterations)
        with self.clock(Activity.INFERENCE):
            observations = self.to_device(self.environment.observations)
            q = self.q_values(observations)  # [env, action]
        for t in range(s.num_steps):
            with self.clock(Activity.INFERENCE):
                rollout.observations[t] = observations[: s.num_envs]
                actions = epsilon_greedy(q, epsilon, self.generator)
                rollout.actions[t] = actions[: s.num_envs]
                to_play = actions.cpu().numpy()
            with self.clock(Activity.ENVIRONMENT):
                step = self.environment.step(to_play)
            self.store(t, step)
            with self.clock(Activity.INFERENCE):
                observations = self.to_device(step.observations)
                q = self.q_values(observations)
                self.bootstrap(t, q, step)

    def store(self, t: int, step: Step) -> None:
        n, rollout = self.settings.num_envs, self.rollout
        rewards = step.rewards.clip(-1, 1) if self.reward_clipping else step.rewards
        rollout.rewards[t] = self.to_device(rewards[:n])
        rollout.terminated[t] = self.to_device(step.terminated[:n])
        rollout.truncated[t] = self.to_device(step.truncated[:n])
        rollout.chosen[t] = self.to_device(step.chosen[:n])
        frame = self.frames + (t + 1) * n * self.environment.frames_per_step
        for game in step.games:
            self.games.append(FinishedGame.of(game, frame, self.environment, test=game.env >= n))

    def bootstrap(self, t: int, next_q: Tensor, step: Step) -> None:
        """The values that follow step t: of the next observation, or of the last one where a time limit cut it."""
        n = self.settings.num_envs
        values = next_q.amax(dim=1)[:n]
        cut = step.truncated[step.ended] & (step.ended < n)
        if cut.any():
            final_q = self.q_values(self.to_device(step.final_observations[cut]))
            values[torch.from_numpy(step.ended[cut]).to(self.device)] = final_q.amax(dim=1)
        self.rollout.next_values[t] = values

    # -- targets ----------------------------------------------------------------------------------------------------

    def targets(self) -> Tensor:
        """Lambda-returns [T, E] from the Q-values computed while acting."""
        r, s = self.rollout, self.settings
        return lambda_returns(r.rewards, r.next_values, r.terminated, r.truncated, gamma=s.gamma, lambda_=s.q_lambda)

    # -- update -----------------------------------------------------------------------------------------------------

    def update(self, targets: Tensor) -> dict[str, float]:
        s, rollout = self.settings, self.rollout
        observations = rollout.observations.flatten(0, 1)
        actions, targets = rollout.actions.flatten(), targets.flatten()
        weights = rollout.chosen.flatten().float()
        sums = torch.zeros(3, device=self.device)
        updates = s.num_epochs * s.num_minibatches
        for epoch in range(s.num_epochs):
            for i, batch in enumerate(rollout.minibatches(s.num_minibatches, self.generator)):
                done = self.iterations + (epoch * s.num_minibatches + i) / updates
                learning_rate = self.learning_rate(done)
                q = self.forward(observations.index_select(0, batch)).gather(1, actions[batch, None]).squeeze(1)
                weight = weights[batch]
                error = (q - targets[batch]).square()
                loss = 0.5 * (weight * error).sum() / weight.sum().clamp(min=1)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.param_groups[0]["lr"] = learning_rate
                norm = self.optimizer.clip_and_step(s.max_grad_norm)
                sums += torch.stack([loss.detach(), q.detach().mean(), norm])
        loss_mean, q_mean, norm_mean = (sums / updates).tolist()
        return {"loss": loss_mean, "q_mean": q_mean, "grad_norm": norm_mean, "learning_rate": learning_rate}

    # -- schedules, the network, the state ---------------------------------------------------------------------------

    def epsilon(self, iteration: int) -> float:
        s = self.settings
        return linear(s.epsilon_start, s.epsilon_end, iteration / (s.epsilon_decay * self.decay_iterations))

    def learning_rate(self, iteration: float) -> float:
        rate = self.settings.learning_rate
        return linear(rate, 0.0, iteration / self.decay_iterations) if self.settings.lr_decay else rate

    def forward(self, observations: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            q: Tensor = self.network(observations)
        return q.float()

    @torch.no_grad()
    def q_values(self, observations: Tensor) -> Tensor:
        """Q-values [B, action], float32, of observations on any device."""
        return self.forward(observations.to(self.device))

    def to_device(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "environment": self.environment.state_dict(),
            "generator": self.generator.get_state(),
            "iterations": self.iterations,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        groups = self.optimizer.state_dict()["param_groups"]
        moments = {int(number): tensors for number, tensors in state["optimizer"].items()}
        parameters = list(self.network.parameters())
        for number, tensors in moments.items():
            wrong = [n for n, t in tensors.items() if n != "step" and t.shape != parameters[number].shape]
            if wrong:
                raise RuntimeError(f"the optimizer's {wrong[0]} does not fit parameter {number}")
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.environment.load_state_dict(state["environment"])
        self.generator.set_state(state["generator"])
        self.iterations = state["iterations"]
