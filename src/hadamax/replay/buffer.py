"""Experience replay of a batch of environments.

Every frame is stored once (`frames.py`), with a dozen more bytes per step. A row is a step of one environment: its
observation, then the action, reward and end. A truncated game has one more row, its last observation, from which its
value is bootstrapped; that row itself is not learned from. A lost life ends the learning episode, not the stack of
frames.

Each environment has its own ring. A row can be drawn from the moment its n-step return is complete until `capacity`
rows later. It is overwritten `slack` rows after that, so that it still exists when a checkpoint that needs it is
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hadamax.errors import UserError
from hadamax.functional import n_step_returns
from hadamax.replay.frames import Frames
from hadamax.replay.memory import require_room
from hadamax.replay.persistence import RowStream
from hadamax.replay.sum_tree import SumTree

Array = np.ndarray
TERMINATED, TRUNCATED, CHOSEN = 1, 2, 4  # bits of a row's flags
BYTES_OF_A_ROW = 13  # without its frame: action 4, reward 4, flags 1, age 2, ready 1, rounded up
BYTES_OF_A_PRIORITY = 8.3


class Batch(NamedTuple):
    """A batch on the learner's device. The next batch of the same size overwrites its observations."""

    observations: Tensor  # [B, *observation_shape]
    actions: Tensor  # [B] int64
    returns: Tensor  # [B] float32, n-step
    discounts: Tensor  # [B] float32, gamma^steps, 0 where the episode terminated
    next_observations: Tensor  # [B, *observation_shape], n steps later, or the final observation of a truncated episode
    weights: Tensor  # [B] float32, importance weights; 1 without priorities
    slots: Array  # [B] int, for `prioritise`


class Replay:
    """Replay of the last `size` steps of `num_envs` environments.

    Args:
        size: transitions that can be drawn, over all environments.
        slack: rows of an environment that may be added between a `state_dict` and the writing of it.
        prioritised: draw in proportion to priorities instead of uniformly.
        device: device of the stored frames. Batches are on `learner_device`.

    Raises:
        UserError: it does not fit in memory (checked before the allocation), or n_step is too long for it.
    """

    def __init__(
        self,
        size: int,
        num_envs: int,
        observation_shape: tuple[int, ...],
        observation_dtype: np.dtype,
        *,
        stack: int = 1,
        repeat_first_frame: bool = True,
        n_step: int = 1,
        gamma: float = 0.99,
        prioritised: bool = False,
        slack: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
        learner_device: torch.device | str = "cpu",
    ) -> None:
        per_env = -(-size // num_envs)
        if n_step >= per_env:
            raise UserError(f"n_step: {n_step} is longer than the replay; expected up to {per_env - 1} (replay_size)")
        self.size, self.num_envs, self.n_step, self.gamma = size, num_envs, n_step, gamma
        self.capacity = per_env + 1  # and the newest row, which has no action yet
        self.length = self.capacity + stack - 1 + slack
        self.device, self.learner_device = torch.device(device), torch.device(learner_device)
        rows = num_envs * self.length
        frame = Frames.bytes_of(observation_shape, observation_dtype, stack)
        self.nbytes = rows * (frame + BYTES_OF_A_ROW) + int(rows * BYTES_OF_A_PRIORITY * prioritised)
        require_room(self.nbytes, size, self.device)
        self.frames = Frames(
            num_envs,
            self.length,
            observation_shape,
            observation_dtype,
            stack=stack,
            repeat_first_frame=repeat_first_frame,
            device=self.device,
        )
        self.actions = np.zeros(rows, np.int32)
        self.rewards = np.zeros(rows, np.float32)
        self.flags = np.zeros(rows, np.uint8)
        self.ready = np.zeros(rows, bool)
        self.tree = SumTree(rows) if prioritised else None
        self.max_priority = 1.0  # seen so far; the priority of a new row
        self.generator = torch.Generator().manual_seed(seed)
        self.heads = np.zeros(num_envs, np.int64)  # each environment's newest row, which has no action yet
        self.stream = RowStream(self)
        self._since = np.zeros(num_envs, np.int64)  # rows of the current learning episode
        self._first = np.arange(num_envs) * self.length
        self._number = 0  # rows that are ready
        self._run = np.arange(n_step)

    def __len__(self) -> int:
        """Number of transitions that can be drawn."""
        return self._number

    def slots(self, rows: Array) -> Array:
        """Return the positions in storage of rows [..., env] of the environments."""
        slots: Array = self._first + rows % self.length
        return slots

    # -- adding -----------------------------------------------------------------------------------------------------

    def begin(self, observations: Array) -> None:
        """Store the first observations [env, *observation_shape] of new games."""
        self.frames.put(self.slots(self.heads), observations, np.zeros(self.num_envs, np.int64))

    def add(
        self,
        actions: Array,
        rewards: Array,
        terminated: Array,
        truncated: Array,
        agent_acted: Array,
        observations: Array,
        ended: Array,
        final_observations: Array,
    ) -> None:
        """Store each environment's action on its last observation, and its new observation.

        Args:
            actions, rewards, terminated, truncated, agent_acted: [env], as in `environments.Step`.
            observations: [env, *observation_shape], a new game's first where one ended.
            ended: [k] environments whose game ended, with their `final_observations` [k, *observation_shape].
        """
        acted = self.slots(self.heads)
        self.actions[acted], self.rewards[acted] = actions, rewards
        self.flags[acted] = terminated * TERMINATED + truncated * TRUNCATED + agent_acted * CHOSEN
        ripe = self._ripe(terminated | truncated)
        ages = self.frames.ages[acted].astype(np.int64) + 1
        if truncated.any():
            self._keep_final(ages, truncated, ended, final_observations)
        self.heads += 1
        ages[ended] = 0
        here = self.slots(self.heads)
        self.frames.put(here, observations, ages)
        self.flags[here] = 0
        # Rows that are now too old; two if a final observation was stored.
        retired = np.concatenate([self.slots(self.heads - self.capacity), self.slots(self.heads - self.capacity - 1)])
        self._mark(retired, ripe)

    def _keep_final(self, ages: Array, truncated: Array, ended: Array, final_observations: Array) -> None:
        """Store the final observation of each truncated game in a row of its own."""
        cut = truncated[ended]
        envs = ended[cut]
        self.heads[envs] += 1
        slots = self._first[envs] + self.heads[envs] % self.length
        self.frames.put(slots, final_observations[cut], ages[envs])
        self.flags[slots] = 0

    def _ripe(self, ended: Array) -> Array:
        """Return the slots of rows whose n-step return is complete with the latest row: after n rows or at an end."""
        self._since += 1
        backs = np.arange(self.n_step)[:, None]  # [back, env]
        ripe = ((backs == self.n_step - 1) | ended) & (backs < self._since)
        self._since[ended] = 0
        slots = self.slots(self.heads - backs)[ripe]
        learned: Array = slots[self.flags[slots] & CHOSEN > 0]
        return learned

    def _mark(self, retired: Array, ripe: Array) -> None:
        retired = retired[self.ready[retired]]
        self.ready[retired] = False
        self.ready[ripe] = True
        self._number += len(ripe) - len(retired)
        if self.tree is not None and len(ripe) + len(retired):
            priorities = np.zeros(len(retired) + len(ripe))
            priorities[len(retired) :] = self.max_priority
            self.tree.set(np.concatenate([retired, ripe]), priorities)

    # -- drawing ----------------------------------------------------------------------------------------------------

    def sample(self, batch_size: int, beta: float = 1.0) -> Batch:
        """Draw transitions uniformly, or in proportion to their priorities.

        Args:
            beta: exponent of the importance weights (N P)^-beta, which are scaled so that the largest is 1.

        Raises:
            ValueError: there is nothing to draw from.
        """
        if not self._number:
            raise ValueError("the replay holds no transition yet")
        slots = self._draw(batch_size)
        positions = slots % self.length
        first = slots - positions
        run = first[:, None] + (positions[:, None] + self._run) % self.length  # [B, n]
        flags = self.flags[run]
        ends = flags & TERMINATED > 0, flags & TRUNCATED > 0
        returns, discounts, steps = n_step_returns(self.rewards[run], *ends, gamma=self.gamma)
        now, later = self.frames.pairs(slots, np.where(discounts > 0, steps, 0), self.n_step)
        columns = self.actions[slots].astype(np.int64), returns, discounts, self._weights(slots, beta)
        actions, *floats = (torch.from_numpy(column).to(self.learner_device) for column in columns)
        now, later = now.to(self.learner_device), later.to(self.learner_device)
        return Batch(now, actions, floats[0], floats[1], later, floats[2], slots)

    def _draw(self, number: int) -> Array:
        """Draw slots, and redraw those that are not ready."""
        slots = self._candidates(number, spread=True)
        while not (good := self.ready[slots]).all():
            slots[~good] = self._candidates(int((~good).sum()), spread=False)
        return slots

    def _candidates(self, number: int, *, spread: bool) -> Array:
        if self.tree is None:
            used = min(int(self.heads.max()), self.length)  # positions below this have been written
            drawn = torch.randint(self.num_envs * used, (number,), generator=self.generator).numpy()
            slots: Array = drawn // used * self.length + drawn % used
            return slots
        masses = torch.rand(number, generator=self.generator, dtype=torch.float64).numpy()
        if spread:  # stratified: one from each part of equal mass (Schaul et al. 2016, appendix B.2.1)
            masses = (np.arange(number) + masses) / number
        return self.tree.find(masses * self.tree.total)

    def _weights(self, slots: Array, beta: float) -> Array:
        if self.tree is None:
            return np.ones(len(slots), np.float32)
        # The largest weight is 1, so the number of rows and the total cancel.
        priorities = self.tree.get(slots)
        weights: Array = ((priorities.min() / priorities) ** beta).astype(np.float32)
        return weights

    def prioritise(self, slots: Array, priorities: Array) -> None:
        """Set the priorities [B], above 0, of drawn transitions; those that were overwritten since are ignored."""
        assert self.tree is not None, "a replay without priorities"
        still = self.ready[slots]
        self.tree.set(slots[still], priorities[still])
        self.max_priority = max(self.max_priority, float(np.float32(priorities.max())))

    def recent(self, number: int) -> Tensor:
        """Return about `number` of the last observations, oldest first; the next draw overwrites them."""
        rows = min(-(-number // self.num_envs), self.capacity - 1, int(self.heads.min()))
        backs = np.arange(rows, 0, -1)[:, None]  # [row, env]
        return self.frames.observations(self.slots(self.heads - backs).ravel())

    # -- saving -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state; its rows are a `Snapshot`, of which a checkpoint writes only the new ones."""
        here = self.slots(self.heads)
        state = {
            "heads": self.heads,
            "since": self._since,
            "ready": np.packbits(self.ready),
            "current_frames": self.frames.data[torch.from_numpy(here)].cpu(),
            "current_ages": self.frames.ages[here],
            "generator": self.generator.get_state(),
            "rows": self.stream.snapshot(),
        }
        if self.tree is not None:
            state["priorities"], state["max_priority"] = self.tree.leaves, np.array(self.max_priority)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state.

        Raises:
            RuntimeError: it belongs to a replay of another size or kind, or rows are missing.
        """
        arrays = {name: np.asarray(value) for name, value in state.items() if name not in ("rows", "generator")}
        rows = len(self.ready)
        wanted = {"heads": self.num_envs, "since": self.num_envs, "current_ages": self.num_envs, "ready": -(-rows // 8)}
        if self.tree is not None:
            wanted["priorities"] = rows
        if any(arrays[name].shape != (number,) for name, number in wanted.items()) or (arrays["heads"] < 0).any():
            raise RuntimeError("the saved replay has another size or other environments")
        self.heads, self._since = arrays["heads"].astype(np.int64), arrays["since"].astype(np.int64)
        self.stream.load(state["rows"])
        here = self.slots(self.heads)
        self.frames.data[torch.from_numpy(here)] = torch.as_tensor(state["current_frames"]).to(self.device)
        self.frames.ages[here] = arrays["current_ages"]
        self.flags[here] = 0
        self.ready = np.unpackbits(arrays["ready"].astype(np.uint8), count=rows).astype(bool)
        self._number = int(self.ready.sum())
        self.generator.set_state(state["generator"])
        if self.tree is not None:
            self.tree.set_all(np.where(self.ready, arrays["priorities"], 0))
            self.max_priority = float(arrays["max_priority"])
