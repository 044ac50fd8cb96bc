"""What PQN and PPO share and their papers leave out: storing a rollout's steps, ReDo between iterations, saving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.algorithms.contract import FinishedGame
from hadamax.algorithms.moments import load_moments, save_moments
from hadamax.algorithms.resets import reset_if_due
from hadamax.data.rollout import Rollout
from hadamax.environments import Step, VectorEnvironment


class OnPolicyLearner:
    """A learner and its environments, the last `num_test_envs` of which are greedy: scored, never learned from."""

    settings: Any
    environment: VectorEnvironment
    network: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    rollout: Rollout
    device: torch.device
    reward_clipping: bool
    frames_per_iteration: int
    iterations: int
    games: list[FinishedGame]

    @staticmethod
    def environments(settings: Any) -> int:
        """How many environments the learner steps in all."""
        return int(settings.num_envs + settings.num_test_envs)

    @property
    def frames(self) -> int:
        return self.iterations * self.frames_per_iteration

    def reset(self) -> None:
        self.environment.reset()

    def store(self, t: int, step: Step) -> None:
        """Step t of the environments that are learned from, and the games that ended in any."""
        n, rollout = self.settings.num_envs, self.rollout
        rewards = step.rewards.clip(-1, 1) if self.reward_clipping else step.rewards
        rollout.rewards[t] = self.to_device(rewards[:n])
        rollout.terminated[t] = self.to_device(step.terminated[:n])
        rollout.truncated[t] = self.to_device(step.truncated[:n])
        rollout.chosen[t] = self.to_device(step.chosen[:n])
        frame = self.frames + (t + 1) * n * self.environment.frames_per_step
        for game in step.games:
            self.games.append(FinishedGame.of(game, frame, self.environment, test=game.env >= n))

    def reset_dormant(self, run: Callable[[Tensor], object] | None = None) -> float:
        """ReDo, every `redo_every` frames: how many units were reset. `run` calls every layer of the network."""
        return reset_if_due(
            self.network,
            self.recent_observations(),
            self.optimizer,
            frames=self.frames,
            frames_per_iteration=self.frames_per_iteration,
            every=self.settings.redo_every,
            tau=self.settings.redo_tau,
            generator=self.generator,
            run=run,
        )

    def recent_observations(self) -> Tensor:
        """[T x E, *shape] of the last rollout."""
        return self.rollout.observations.flatten(0, 1)

    def to_device(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": save_moments(self.optimizer),
            "environment": self.environment.state_dict(),
            "generator": self.generator.get_state(),
            "iterations": self.iterations,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        load_moments(self.optimizer, state["optimizer"])
        self.environment.load_state_dict(state["environment"])
        self.generator.set_state(state["generator"])
        self.iterations = state["iterations"]
