"""What PQN and PPO share and their papers leave out: whose rollout is next, storing its steps, ReDo, saving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.algorithms.common.contract import Activity, FinishedGame
from hadamax.algorithms.common.optimizer_state import load_moments, save_moments
from hadamax.algorithms.common.resets import reset_if_due
from hadamax.algorithms.common.rollout import Rollout
from hadamax.algorithms.overlap import Ahead
from hadamax.clock import Clock
from hadamax.environments import Environments, Step, VectorEnvironment
from hadamax.kernels.cuda_graphs import GraphCapturer, GraphedFunction


class OnPolicyLearner:
    """A learner and its environments, the last `num_test_envs` of which are greedy: scored, never learned from."""

    settings: Any
    environment: Environments
    network: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    rollout: Rollout
    ahead: Ahead | None
    clock: Clock
    device: torch.device
    reward_clipping: bool
    frames_per_iteration: int
    iterations: int
    games: list[FinishedGame]
    recorded_outputs: GraphedFunction

    @staticmethod
    def environments(settings: Any) -> int:
        """How many environments the learner steps in all."""
        return int(settings.num_envs + settings.num_test_envs)

    @property
    def frames(self) -> int:
        return self.iterations * self.frames_per_iteration

    def reset(self) -> None:
        self.environment.reset()
        (self.ahead.actor if self.ahead else self).begin_games()

    def begin_games(self) -> None:
        """Every game begins."""

    @torch.no_grad()
    def collect(self) -> None:
        """Fill the rollout with the network as it is. Groups of environments take turns: while one plays, the next
        is acted for.
        """
        last = self.settings.num_steps - 1
        for group in self.environment.groups:
            self.send(0, group, *self.look(group.observations))
        for t in range(last + 1):
            for group in self.environment.groups:
                with self.clock(Activity.ENVIRONMENT):
                    step = group.receive()
                self.store(t, group, step)
                observations, outputs = self.look(step.observations)
                with self.clock(Activity.INFERENCE):
                    self.bootstrap(t, group, outputs, step)
                if t < last:
                    self.send(t + 1, group, observations, outputs)

    def look(self, seen: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Observations on the device, and what the network says of them."""
        with self.clock(Activity.INFERENCE):
            observations = self.to_device(seen)
            return observations, self.recorded_outputs(observations)

    def send(self, t: int, group: VectorEnvironment, observations: Tensor, outputs: tuple[Tensor, ...]) -> None:
        """Choose the actions of step t for a group, and begin it."""
        with self.clock(Activity.INFERENCE):
            rows = self.learned(group)
            self.rollout.observations[t, rows] = observations[: rows.stop - rows.start]
            actions = self.act(t, rows, outputs).cpu().numpy()
        with self.clock(Activity.ENVIRONMENT):
            group.send(actions)

    def learned(self, group: VectorEnvironment) -> slice:
        """The environments of a group that are learned from, its first ones, by their number among all."""
        n = self.settings.num_envs
        return slice(min(group.first, n), min(group.first + group.num_envs, n))

    def outputs_to_act(self, observations: Tensor) -> tuple[Tensor, ...]:
        """What the network says of observations [B, *shape]."""
        raise NotImplementedError

    def record(self, recorder: GraphCapturer | None) -> None:
        """Have what every step computes recorded, from now on, and forget what has been."""
        self.recorded_outputs = GraphedFunction(self.outputs_to_act, recorder)

    def act(self, t: int, rows: slice, outputs: tuple[Tensor, ...]) -> Tensor:
        """Actions [env] of a group at step t; those of the rows that are learned from are stored."""
        raise NotImplementedError

    def bootstrap(self, t: int, group: VectorEnvironment, outputs: tuple[Tensor, ...], step: Step) -> None:
        """Store the values that follow step t: of the next observation, or of the last where a time limit cut it."""
        raise NotImplementedError

    def next_rollout(self) -> None:
        """Have the rollout to learn from now, and the games that ended in it."""
        if self.ahead is None:
            self.games = []
            self.collect()
            return
        with self.clock(Activity.ENVIRONMENT):  # what is left to wait for
            self.games = self.ahead.take(self)
            self.ahead.begin(self, self.iterations + 1)

    def store(self, t: int, group: VectorEnvironment, step: Step) -> None:
        """Step t of the environments of a group that are learned from, and the games that ended in any."""
        rows, rollout = self.learned(group), self.rollout
        n = rows.stop - rows.start
        rewards = step.rewards.clip(-1, 1) if self.reward_clipping else step.rewards
        rollout.rewards[t, rows] = self.to_device(rewards[:n])
        rollout.terminated[t, rows] = self.to_device(step.terminated[:n])
        rollout.truncated[t, rows] = self.to_device(step.truncated[:n])
        rollout.chosen[t, rows] = self.to_device(step.chosen[:n])
        frame = self.frames + (t + 1) * self.settings.num_envs * self.environment.frames_per_step
        for game in step.games:
            test = game.env >= self.settings.num_envs
            self.games.append(FinishedGame.of(game, frame, group, test=test))

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

    def use_generator(self) -> None:
        """Have the parts that draw for acting draw from `generator`."""

    def acting_state(self) -> dict[str, Any]:
        """What the next rollout depends on beside the iteration: saved where it is collected ahead."""
        return {
            "acting_network": self.network.state_dict(),
            "environment": self.environment.state_dict(),
            "acting_generator": self.generator.get_state(),
        }

    def load_acting_state(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["acting_network"])
        self.environment.load_state_dict(state["environment"])
        self.generator.set_state(state["acting_generator"])

    def state_dict(self) -> dict[str, Any]:
        acting = self.ahead.state_dict() if self.ahead else {"environment": self.environment.state_dict()}
        return {
            "network": self.network.state_dict(),
            "optimizer": save_moments(self.optimizer),
            **acting,
            "generator": self.generator.get_state(),
            "iterations": self.iterations,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        load_moments(self.optimizer, state["optimizer"])
        self.generator.set_state(state["generator"])
        self.iterations = state["iterations"]
        self.record(self.recorded_outputs.capturer)  # the moments lie elsewhere now
        if self.ahead:
            self.ahead.load_state_dict(state, self.iterations)
        else:
            self.environment.load_state_dict(state["environment"])
