"""Shared by DQN, C51 and Rainbow, and not in their papers: the replay, counting steps, precision, checkpoints.

The papers step one environment. With `num_envs` of them, one step of all counts as `num_envs` agent steps, and as many
updates are due as that many steps of one environment would bring.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.algorithms.common.learner import Activity, FinishedGame, Learner, load_moments, save_moments
from hadamax.environments import VectorEnvironment
from hadamax.functional import linear, random_actions
from hadamax.networks import Encoder
from hadamax.replay import Replay

RECENT_OBSERVATIONS = 4096  # that `recent_observations` returns
SMALL_BATCH = 8  # observations; below it, rounding the weights to bfloat16 costs more than it saves on a CPU


class ReplayLearner(Learner):
    """Base class of DQN: a learner, its target network, its environments and its replay."""

    environment: VectorEnvironment
    network: nn.Module

    def __init__(self, settings: Any, environment: VectorEnvironment, encoder: Encoder, **options: Any) -> None:
        super().__init__(settings, environment, **options)
        s = settings
        self.network = self.place(self.build_network(settings, encoder, environment.num_actions))
        self.target_network = copy.deepcopy(self.network).requires_grad_(False)
        self.parameters = list(self.network.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=s.learning_rate, eps=s.adam_eps, fused=True)
        self.decay_steps = max(self.decay_frames // environment.frames_per_step, 1)
        self.batch_steps = -(-s.iteration_steps // s.num_envs)  # steps of all environments in an iteration
        self.frames_per_iteration = self.batch_steps * s.num_envs * environment.frames_per_step
        self.replay = self.build_replay(self.generator.initial_seed())
        self.steps = self.updates = 0  # of all environments together, and of the optimizer

    @staticmethod
    def build_network(settings: Any, encoder: Encoder, num_actions: int) -> nn.Module:
        """Observations [B, *shape] -> Q-values [B, num_actions]."""
        raise NotImplementedError

    def act(self, observations: Tensor) -> Tensor:
        """Exploring actions [env] for observations [env, *shape]."""
        raise NotImplementedError

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
            slack=2 * self.batch_steps,  # a step leaves two rows where an episode was truncated
            seed=seed,
            device=self.device if s.replay_device == "learner" else "cpu",
            learner_device=self.device,
        )

    # -- the run loop's contract --------------------------------------------------------------------------------------

    @staticmethod
    def environments(settings: Any) -> int:
        """Number of environments that the learner steps."""
        return int(settings.num_envs)

    @property
    def frames(self) -> int:
        return self.steps * self.environment.frames_per_step

    def reset(self) -> None:
        self.replay.begin(self.environment.reset())

    def recent_observations(self) -> Tensor:
        """[N, *shape] of the last steps."""
        return self.replay.recent(RECENT_OBSERVATIONS).to(self.device)

    # -- stepping -----------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Step every environment once and add the transitions to the replay."""
        with self.clock(Activity.INFERENCE):
            actions = self.act(torch.from_numpy(self.environment.observations)).cpu().numpy()
        with self.clock(Activity.ENVIRONMENT):
            step = self.environment.step(actions)
            ends = step.terminated, step.truncated, step.agent_acted
            rows = *ends, step.observations, step.ended, step.final_observations
            self.replay.add(actions, self.rewards(step), *rows)
        self.steps += self.settings.num_envs
        for game in step.games:
            self.games.append(FinishedGame.of(game, self.frames, self.environment, test=False))

    def multiples_crossed(self, every: int) -> int:
        """Number of multiples of `every` agent steps that the last step of the environments reached."""
        before: int = self.steps - self.settings.num_envs
        return self.steps // every - before // every

    def updates_due(self) -> int:
        s = self.settings
        if self.steps <= s.learning_starts or len(self.replay) < s.batch_size:
            return 0
        return self.multiples_crossed(s.train_every)

    def scheduled_steps(self) -> int:
        """Agent steps since the schedules began: they can start again with each game of a sequence."""
        frames = self.frames if self.restart_frames is None else self.frames % self.restart_frames
        return frames // self.environment.frames_per_step

    def decayed_epsilon(self) -> float:
        """Probability of a random action after the linear decay so far."""
        s = self.settings
        return linear(s.epsilon_start, s.epsilon_end, self.scheduled_steps() / (s.epsilon_decay * self.decay_steps))

    def epsilon_greedy(self, observations: Tensor, epsilon: float) -> Tensor:
        """Greedy actions, or random ones with probability `epsilon`; the network is not run if all are random."""
        probability = torch.full((self.settings.num_envs,), epsilon, device=self.device)
        explore, random = random_actions(probability, self.environment.num_actions, self.generator)
        if explore.all():
            return random
        return torch.where(explore, random, self.q_values(observations).argmax(dim=1))

    # -- the network --------------------------------------------------------------------------------------------------

    def forward(self, function: Callable[[Tensor], Tensor], observations: Tensor) -> Tensor:
        """Apply a network, or a method of one, in the run's precision; the result is float32."""
        small = self.device.type == "cpu" and len(observations) < SMALL_BATCH
        if small or self.precision == torch.float32:
            return function(observations).float()
        with torch.autocast(self.device.type, self.precision):
            return function(observations).float()

    @torch.inference_mode()
    def q_values(self, observations: Tensor) -> Tensor:
        """Q-values [B, action], float32, of observations on any device."""
        return self.forward(self.network, observations.to(self.device))

    def step_optimizer(self, loss: Tensor) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    # -- checkpoints --------------------------------------------------------------------------------------------------

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
