"""Collecting the next rollout while learning from the last: a thread emulates and acts, the learner updates.

The policy that acts is one iteration older than without. What the rollout in the making came from is kept, the games,
the generator and the weights as they were when it began: a checkpoint saves those, and a resumed run collects it anew.
"""

from __future__ import annotations

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch

from hadamax.algorithms.common.contract import FinishedGame
from hadamax.clock import Clock

if TYPE_CHECKING:
    from hadamax.algorithms.on_policy import OnPolicyLearner


class Ahead:
    """The rollout after the learner's, collected by a copy of the learner that shares its environments."""

    def __init__(self, learner: OnPolicyLearner) -> None:
        self.actor = actor = copy.copy(learner)
        actor.network = copy.deepcopy(learner.network).requires_grad_(False)
        actor.rollout = copy.deepcopy(learner.rollout)
        actor.clock = Clock()  # time beside the learner's is nobody's wait
        actor.generator = torch.Generator(learner.device).manual_seed(learner.generator.initial_seed() ^ 1)
        actor.use_generator()
        actor.record(None)  # its network, not the learner's; and a thread beside would disturb a recording
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="collect")
        self.rollout: Future[None] | None = None
        self.origin: dict[str, Any] = {}

    def begin(self, learner: OnPolicyLearner, iteration: int) -> None:
        """Collect the rollout of an iteration with the learner's weights as they are now."""
        self.actor.network.load_state_dict(learner.network.state_dict())
        self._begin(iteration)

    def take(self, learner: OnPolicyLearner) -> list[FinishedGame]:
        """Wait for the rollout and give it to the learner, whose own is written over next: the games that ended."""
        if self.rollout is None:
            self.begin(learner, learner.iterations)
        assert self.rollout is not None
        self.rollout.result()
        learner.rollout, self.actor.rollout = self.actor.rollout, learner.rollout
        return self.actor.games

    def _begin(self, iteration: int) -> None:
        self.origin = copy.deepcopy(self.actor.acting_state())
        self.actor.iterations, self.actor.games = iteration, []
        self.rollout = self.thread.submit(self.actor.collect)

    def state_dict(self) -> dict[str, Any]:
        return self.origin or self.actor.acting_state()

    def load_state_dict(self, state: dict[str, Any], iteration: int) -> None:
        if self.rollout is not None:
            self.rollout.result()
        self.actor.load_acting_state(state)
        self._begin(iteration)
