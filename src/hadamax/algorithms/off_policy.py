"""What DQN, C51 and Rainbow share and their papers leave out: collecting into a replay, the ratio of updates to steps,
the target network, saving.

The papers have one environment. With more of them a step of the batch counts as `num_envs` agent steps, and as many
updates are due as that many steps of one environment would bring.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hadamax.algorithms.common.contract import Activity, FinishedGame, Iteration
from hadamax.algorithms.common.optimizer_state import load_moments, save_moments
from hadamax.clock import Clock
from hadamax.environments import VectorEnvironment
from hadamax.errors import UserError
from hadamax.functional import linear, random_actions
from hadamax.networks import Encoder
from hadamax.replay.buffer import Batch, Replay

Array = np.ndarray
RECENT = 4096  # observations that show what the learner sees now
FEW = 8  # observations, of which rounding the weights to bfloat16 does not pay


def check(settings: Any) -> None:
    """Refuse values that cannot be, of the settings that these algorithms share.

    Raises:
        UserError: naming the setting, the value and what would be valid.
    """
    least = {"num_envs": 1, "replay_size": 2, "batch_size": 1, "learning_starts": 0, "train_every": 1}
    for name, smallest in {**least, "target_every": 1, "iteration_steps": 1, "n_step": 1, "num_atoms": 2}.items():
        value = getattr(settings, name, None)
        if value is not None and value < smallest:
            raise UserError(f"{name}: {value} is too small; expected {smallest} or more")
    for name in ("gamma", "epsilon_start", "epsilon_end", "priority_exponent", "beta_start"):
        value = getattr(settings, name, None)
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"{name}: {value} is out of range; expected 0 to 1")
    for name in ("learning_rate", "adam_eps", "epsilon_decay", "noise"):
        value = getattr(settings, name, None)
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"{name}: {value} is out of range; expected a finite number above 0")
    low, high = getattr(settings, "v_min", -1.0), getattr(settings, "v_max", 1.0)
    if not -float("inf") < low < high < float("inf"):
        raise UserError(f"v_min: {low} is not below v_max {high}; expected finite v_min < v_max")


class OffPolicyLearner:
    """A learner, its target network, its environments and its replay."""

    settings: Any
    network: nn.Module

    def __init__(
        self,
        settings: Any,
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
        self.target_network = copy.deepcopy(self.network).requires_grad_(False)
        self.parameters = list(self.network.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=s.learning_rate, eps=s.adam_eps, fused=True)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.decay_steps = max(decay_frames // environment.frames_per_step, 1)
        self.batch_steps = -(-s.iteration_steps // s.num_envs)  # steps of the batch of environments in an iteration
        self.frames_per_iteration = self.batch_steps * s.num_envs * environment.frames_per_step
        self.replay = self.build_replay(seed)
        self.steps = self.updates = 0  # of all environments together, and of the optimizer
        self.games: list[FinishedGame] = []

    # -- what an algorithm says of itself -----------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def build_network(settings: Any, encoder: Encoder, num_actions: int) -> nn.Module:
        """Observations [B, *shape] -> Q-values [B, num_actions]."""

    @abstractmethod
    def act(self, observations: Tensor) -> Tensor:
        """[env, *shape] -> actions [env] to explore with."""

    @abstractmethod
    def update(self, batch: Batch) -> Tensor:
        """One step of the optimizer: (loss, mean Q-value of the actions taken)."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The numbers of an iteration beside loss, q_mean and updates."""

    def sample(self) -> Batch:
        return self.replay.sample(self.settings.batch_size)

    def build_replay(self, seed: int, *, n_step: int = 1, prioritised: bool = False) -> Replay:
        s, environment = self.settings, self.environment
        return Replay(
            s.replay_size,
            s.num_envs,
            environment.observation_shape,
            environment.observation_dtype,
            stack=environment.stack,
            repeat_first_frame=environment.repeat_first_frame,
            n_step=n_step,
            gamma=s.gamma,
            prioritised=prioritised,
            slack=2 * self.batch_steps,  # a step leaves two rows where a time limit cut the game
            seed=seed,
            device=self.device if s.replay_device == "learner" else "cpu",
            learner_device=self.device,
        )

    # -- the run loop's contract --------------------------------------------------------------------------------------

    @staticmethod
    def environments(settings: Any) -> int:
        """How many environments the learner steps."""
        return int(settings.num_envs)

    @property
    def frames(self) -> int:
        return self.steps * self.environment.frames_per_step

    def reset(self) -> None:
        self.replay.begin(self.environment.reset())

    def iteration(self) -> Iteration:
        self.games = []
        sums, updates = torch.zeros(2, device=self.device), self.updates
        for _ in range(self.batch_steps):
            self.collect()
            with self.clock(Activity.LEARNING):
                for _ in range(self.updates_due()):
                    sums += self.update(self.sample())
                    self.updates += 1
                if self.passed(self.settings.target_every):
                    self.target_network.load_state_dict(self.network.state_dict())
        loss, q_mean = (sums / max(self.updates - updates, 1)).tolist()
        metrics = {"loss": loss, "q_mean": q_mean, "updates": float(self.updates), **self.metrics()}
        return Iteration(metrics, self.games)

    def collect(self) -> None:
        """One step of every environment, into the replay."""
        with self.clock(Activity.INFERENCE):
            actions = self.act(torch.from_numpy(self.environment.observations)).cpu().numpy()
        with self.clock(Activity.ENVIRONMENT):
            step = self.environment.step(actions)
            rewards = step.rewards.clip(-1, 1) if self.reward_clipping else step.rewards
            ends = step.terminated, step.truncated, step.chosen
            self.replay.add(actions, rewards, *ends, step.observations, step.ended, step.final_observations)
        self.steps += self.settings.num_envs
        for game in step.games:
            self.games.append(FinishedGame.of(game, self.frames, self.environment, test=False))

    # -- schedules ----------------------------------------------------------------------------------------------------

    def passed(self, every: int) -> int:
        """How many multiples of `every` the last step of the environments reached."""
        before: int = self.steps - self.settings.num_envs
        return self.steps // every - before // every

    def updates_due(self) -> int:
        s = self.settings
        if self.steps <= s.learning_starts or len(self.replay) < s.batch_size:
            return 0
        return self.passed(s.train_every)

    def epsilon(self, start: float, end: float) -> float:
        """Probability of a random action now, between two settings."""
        return linear(start, end, self.steps / (self.settings.epsilon_decay * self.decay_steps))

    # -- the network --------------------------------------------------------------------------------------------------

    def epsilon_greedy(self, observations: Tensor, epsilon: float) -> Tensor:
        """The network's best actions, or random ones; it is not asked where all are random."""
        probability = torch.full((self.settings.num_envs,), epsilon, device=self.device)
        explore, anything = random_actions(probability, self.environment.num_actions, self.generator)
        if explore.all():
            return anything
        return torch.where(explore, anything, self.q_values(observations).argmax(dim=1))

    def forward(self, function: Any, observations: Tensor) -> Tensor:
        """`function` (a network or a method of one) of observations, in the run's precision; float32 comes back.

        On a processor the few observations of acting are computed in float32: to round the weights costs more.
        """
        few = self.device.type == "cpu" and len(observations) < FEW
        values: Tensor
        if few or self.precision == torch.float32:
            values = function(observations)
        else:
            with torch.autocast(self.device.type, self.precision):
                values = function(observations)
        return values.float()

    @torch.inference_mode()
    def q_values(self, observations: Tensor) -> Tensor:
        """Q-values [B, action], float32, of observations on any device."""
        return self.forward(self.network, observations.to(self.device))

    def recent_observations(self) -> Tensor:
        """[N, *shape] of the last steps."""
        return self.replay.recent(RECENT).to(self.device)

    def step_optimizer(self, loss: Tensor) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    # -- the state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "target_network": self.target_network.state_dict(),
            "optimizer": save_moments(self.optimizer),
            "environment": self.environment.state_dict(),
            "generator": self.generator.get_state(),
            "replay": self.replay.state_dict(),
            "steps": self.steps,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.target_network.load_state_dict(state["target_network"])
        # Older checkpoints, written before the first update, lack the key.
        load_moments(self.optimizer, state.get("optimizer", {}))
        self.environment.load_state_dict(state["environment"])
        self.generator.set_state(state["generator"])
        self.steps, self.updates = state["steps"], state["updates"]
        self.replay.load_state_dict(state["replay"])
