"""Shared by PQN and PPO, and not in their papers: groups of environments, storing steps, ReDo, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hadamax.algorithms.common.learner import Activity, FinishedGame, Iteration, Learner, load_moments, save_moments
from hadamax.diagnostics.redo import redo
from hadamax.environments import Environments, Step, VectorEnvironment
from hadamax.kernels.cuda_graphs import GraphCapturer, GraphedFunction


class Rollout:
    """Storage for `num_steps` steps of `num_envs` environments, allocated once and overwritten.

    `next_values` are [T, E, *value_shape]: a number, or one for each member of an ensemble.

    Observations are kept in the type that the environment gives (uint8 for images) and cross to the device once.
    """

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        device: torch.device,
        *,
        value_shape: tuple[int, ...] = (),
    ) -> None:
        size = (num_steps, num_envs)
        kind = torch.from_numpy(np.zeros(0, dtype)).dtype
        self.observations = torch.zeros((*size, *shape), dtype=kind, device=device)
        self.actions = torch.zeros(size, dtype=torch.int64, device=device)
        self.rewards = torch.zeros(size, device=device)
        self.next_values = torch.zeros((*size, *value_shape), device=device)
        self.terminated = torch.zeros(size, dtype=torch.bool, device=device)
        self.truncated = torch.zeros(size, dtype=torch.bool, device=device)
        self.agent_acted = torch.zeros(size, dtype=torch.bool, device=device)

    def minibatches(self, number: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield all [T x E] rows once, shuffled, as `number` index tensors of equal length."""
        rows = self.actions.numel()
        order = torch.randperm(rows, generator=generator, device=self.actions.device)
        yield from order.view(number, rows // number)


class PolicyRollout(Rollout):
    """Rollout with the values [T, E] and log-probabilities [T, E] computed while acting."""

    def __init__(
        self, num_steps: int, num_envs: int, shape: tuple[int, ...], dtype: np.dtype, device: torch.device
    ) -> None:
        super().__init__(num_steps, num_envs, shape, dtype, device)
        self.values, self.log_probs = torch.zeros((2, num_steps, num_envs), device=device)


REDO_ROWS = 128  # observations of the rollout by which units are judged


class OnPolicyLearner(Learner):
    """Base class of PQN and PPO.

    A subclass sets `network`, `optimizer` and `rollout`, and defines `train_iteration`, `policy_forward` and `learn`.
    The last `num_test_envs` environments act greedily; they are scored and never learned from.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    rollout: Rollout

    def __init__(self, settings: Any, environment: Environments, **options: Any) -> None:
        super().__init__(settings, environment, **options)
        self.frames_per_iteration = settings.num_steps * settings.num_envs * environment.frames_per_step
        self.decay_iterations = max(self.decay_frames // self.frames_per_iteration, 1)
        self.iterations = 0

    @staticmethod
    def environments(settings: Any) -> int:
        """Number of environments that the learner steps in all."""
        return int(settings.num_envs + settings.num_test_envs)

    @property
    def frames(self) -> int:
        return int(self.iterations * self.frames_per_iteration)

    def scheduled(self, iteration: float) -> float:
        """Iterations since the schedules began: they can start again with each game of a sequence."""
        if self.restart_frames is None:
            return iteration
        restart = self.frames // self.restart_frames * self.restart_frames
        return iteration - float(restart / self.frames_per_iteration)

    # -- what a subclass defines --------------------------------------------------------------------------------------

    def train_iteration(self) -> dict[str, float]:
        """Collect a rollout, learn from it and return the metrics."""
        raise NotImplementedError

    def policy_forward(self, observations: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs to act on observations [B, *shape] with, without gradients."""
        raise NotImplementedError

    def mutated_tensors(self) -> list[list[Tensor]]:
        """The tensors that `learn` changes in place, in groups of the same kind."""
        raise NotImplementedError

    def begin_games(self) -> None:
        """Called when every game begins."""

    # -- the run loop's contract --------------------------------------------------------------------------------------

    def reset(self) -> None:
        self.environment.reset()
        self.begin_games()

    def iteration(self) -> Iteration:
        self.games = []
        metrics = self.train_iteration()
        self.iterations += 1
        if self.settings.redo_every:
            with self.clock(Activity.LEARNING):
                metrics["redo_units"] = self.reset_dormant()
        return Iteration(metrics, self.games)

    def recent_observations(self) -> Tensor:
        """[T x E, *shape] of the last rollout."""
        return self.rollout.observations.flatten(0, 1)

    # -- stepping -----------------------------------------------------------------------------------------------------

    def training_slice(self, group: VectorEnvironment) -> slice:
        """The environments of a group that are learned from, its first ones, by their number among all."""
        n = self.settings.num_envs
        return slice(min(group.first, n), min(group.first + group.num_envs, n))

    def send(self, group: VectorEnvironment, actions: Tensor) -> None:
        """Start a step of a group of environments."""
        actions_on_cpu = actions.cpu().numpy()
        with self.clock(Activity.ENVIRONMENT):
            group.send(actions_on_cpu)

    def receive(self, t: int, group: VectorEnvironment) -> Step:
        """Wait for step t of a group; store its rewards and ends in the rollout, and note the games that ended."""
        with self.clock(Activity.ENVIRONMENT):
            step = group.receive()
        rows, rollout = self.training_slice(group), self.rollout
        n = rows.stop - rows.start
        rollout.rewards[t, rows] = self.to_device(self.rewards(step)[:n])
        rollout.terminated[t, rows] = self.to_device(step.terminated[:n])
        rollout.truncated[t, rows] = self.to_device(step.truncated[:n])
        rollout.agent_acted[t, rows] = self.to_device(step.agent_acted[:n])
        frame = self.frames + (t + 1) * self.settings.num_envs * self.environment.frames_per_step
        for game in step.games:
            test = game.env >= self.settings.num_envs
            self.games.append(FinishedGame.of(game, frame, group, test=test))
        return step

    # -- ReDo ---------------------------------------------------------------------------------------------------------

    def reset_dormant(self) -> float:
        """Reset dormant units if the last iteration crossed a multiple of `redo_every` frames; return their number."""
        s = self.settings
        if self.frames // s.redo_every == (self.frames - self.frames_per_iteration) // s.redo_every:
            return 0.0
        rows = self.recent_observations()
        sample = torch.randperm(len(rows), generator=self.generator, device=rows.device)[:REDO_ROWS]
        # All outputs of the network, so that every layer is run.
        run = getattr(self.network, "policy_and_value", None)
        reset = redo(self.network, rows[sample], self.optimizer, tau=s.redo_tau, generator=self.generator, run=run)
        return float(sum(reset.values()))

    # -- CUDA graphs --------------------------------------------------------------------------------------------------

    def use_graphs(self, capturer: GraphCapturer | None) -> None:
        """Run `policy_forward` and `learn` through CUDA graphs from now on, captured anew; None: without graphs."""
        self.capturer = capturer
        for name, mutated in (("policy_forward", tuple), ("learn", self.mutated_tensors)):
            method = getattr(type(self), name).__get__(self)
            setattr(self, name, GraphedFunction(method, capturer, mutated))

    # -- checkpoints --------------------------------------------------------------------------------------------------

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
        self.generator.set_state(state["generator"])
        self.iterations = state["iterations"]
        self.use_graphs(self.capturer)  # the optimizer's moments have new addresses
        self.environment.load_state_dict(state["environment"])
