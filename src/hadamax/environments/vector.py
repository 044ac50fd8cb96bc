"""Vectorised environment: the interface between a batch of games and an algorithm.

An *engine* (Atari, Gymnasium, MinAtar, or a script in a test) only steps and resets. This module
derives what may be learned from a step: when a learning episode ends, when to bootstrap, which actions the agent did
not choose, and the score of a whole game. It also restores the games when a run resumes.

A reset takes no step: when a game ends, `Step.observations` already shows the next game, and the last
observation of the one that ended is in `Step.final_observations`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hadamax.environments.engine import ActionLog, Array, Engine, EngineStep
from hadamax.environments.sequence import SequenceEngine


class Game(NamedTuple):
    """A whole game that ended: its environment's number among all, raw return and length in agent steps."""

    env: int
    raw_return: float
    steps: int


class Step(NamedTuple):
    """One step of every environment, in terms of what can be learned from it."""

    observations: Array  # [env, *observation_shape] to act on next
    rewards: Array  # [env] float32, raw
    terminated: Array  # [env] bool: the learning episode ended, nothing follows
    truncated: Array  # [env] bool: cut by a time limit, bootstrap from the final observation
    agent_acted: Array  # [env] bool: the executed action was the agent's own; learn from these rows only
    ended: Array  # [k] int: environments whose game ended
    final_observations: Array  # [k, *observation_shape]: their last observations
    games: list[Game]


class VectorEnvironment:
    """Games side by side: reproducible from one seed, resumable bit for bit.

    Seeds: each environment starts from its own seed, drawn from (seed, environment, count). When a game ends
    after `engine.reseed_steps` steps or more, the next game is reset with a new seed, and the log of actions before
    it is dropped. `state_dict` holds the current seeds and the actions since; `load_state_dict` replays them, which is
    exact and costs only emulation.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        seed: int,
        life_loss_terminal: bool = False,
        fire_after_life_loss: bool = False,
        repeat_first_frame: bool = True,
        first: int = 0,
    ) -> None:
        """`first`: the number of the first environment among those of all groups; its games follow from it."""
        self.engine = engine
        self._sequence = engine if isinstance(engine, SequenceEngine) else None
        self.first = first
        self.num_envs = engine.num_envs
        self.observation_shape = engine.observation_shape
        self.observation_dtype = engine.observation_dtype
        self.action_names = engine.action_names
        self.num_actions = len(engine.action_names)
        self.frames_per_step = engine.frames_per_step
        self.input_scale = engine.input_scale
        self.seed = seed
        self.life_loss_terminal = life_loss_terminal
        fires = fire_after_life_loss and "FIRE" in engine.action_names
        self._fire = engine.action_names.index("FIRE") if fires else None
        self.stack, self.repeat_first_frame = engine.stack, repeat_first_frame
        self._stack = engine.stack if repeat_first_frame else 1
        n = self.num_envs
        self._seed_count = np.zeros(n, np.int64)
        self._returns = np.zeros(n, np.float64)
        self._steps = np.zeros(n, np.int64)
        self._lives = np.zeros(n, np.int64)
        self._must_fire = np.zeros(n, bool)
        frame_shape = self.observation_shape[1:] if self._stack > 1 else ()
        self._first_frames = np.zeros((n, *frame_shape), self.observation_dtype)
        self._log = ActionLog(n, self.num_actions)
        self.observations = np.zeros((n, *self.observation_shape), self.observation_dtype)

    @property
    def groups(self) -> Sequence[VectorEnvironment]:
        """This environment as the only group; `EnvironmentGroups` has several."""
        return (self,)

    @property
    def sequence_game(self) -> str:
        """The current game of a sequence of games; empty if there is one game only."""
        return self._sequence.game if self._sequence else ""

    # -- playing ------------------------------------------------------------------------------------------------

    def reset(self) -> Array:
        """Start every game and return the observations, [env, *observation_shape]."""
        everyone = np.ones(self.num_envs, bool)
        self.observations = self._reseed(everyone)
        self._returns[:] = 0
        self._steps[:] = 0
        self._must_fire[:] = False
        return self.observations

    def step(self, actions: Array) -> Step:
        """Play one action in every environment.

        Args:
            actions: [env] integers below `num_actions`.
        """
        self.send(actions)
        return self.receive()

    def send(self, actions: Array) -> None:
        """Begin a step without waiting for its result, if the engine supports that. Takes the arguments of `step`."""
        actions = np.asarray(actions)
        if self._fire is not None and self._must_fire.any():
            actions = np.where(self._must_fire, self._fire, actions)
        self._log.append(actions)
        self._sent = actions
        if hasattr(self.engine, "send"):
            self.engine.send(actions)

    def receive(self) -> Step:
        """Return the result of the step that `send` began."""
        agent_acted = ~self._must_fire
        lives_before = self._lives
        engine = self.engine
        result = self._with_full_stacks(engine.receive() if hasattr(engine, "receive") else engine.step(self._sent))
        over = result.terminated | result.truncated
        life_lost = (result.lives < lives_before) & (result.lives > 0) & ~over
        if self._fire is not None:
            has_fire = self._sequence is None or self._sequence.has("FIRE")
            self._must_fire = life_lost if has_fire else np.zeros_like(life_lost)

        self._returns += result.rewards
        self._steps += 1
        (ended,) = np.nonzero(over)
        final = np.empty((0, *self.observation_shape), self.observation_dtype)
        games: list[Game] = []
        if ended.size:
            assert result.final_observations is not None
            final = result.final_observations[ended]
            scored = ended if result.cut is None else ended[~result.cut[ended]]
            games = [Game(self.first + int(e), float(self._returns[e]), int(self._steps[e])) for e in scored]
            self._begin_games(over)
        terminated = result.terminated | life_lost if self.life_loss_terminal else result.terminated
        return Step(
            observations=self.observations,
            rewards=result.rewards.astype(np.float32),
            terminated=terminated,
            truncated=result.truncated & ~terminated,
            agent_acted=agent_acted,
            ended=ended,
            final_observations=final,
            games=games,
        )

    def _with_full_stacks(self, result: EngineStep) -> EngineStep:
        """Replace the zero frames that a reset left in the stacks by the first frame of the game."""
        observations = result.observations
        over = result.terminated | result.truncated
        if self._stack > 1:
            if result.final_observations is not None:
                self._fill(result.final_observations, self._steps + 1, over)
            self._fill(observations, self._steps + 1, ~over)
            self._start_stacks(observations, over)
        self.observations = observations
        self._lives = result.lives.astype(np.int64)
        return result

    def _begin_games(self, over: Array) -> None:
        self._returns[over] = 0
        self._steps[over] = 0
        reseeded = over & (self._log.ages() >= self.engine.reseed_steps)
        if reseeded.any():
            self.observations = self._reseed(reseeded)

    def _reseed(self, mask: Array) -> Array:
        seeds = np.array([self._game_seed(int(e)) for e in np.flatnonzero(mask)], np.int64)
        observations, lives = self.engine.reset(mask, seeds)
        self._seed_count[mask] += 1
        self._log.begin(mask)
        self._lives = np.where(mask, lives, self._lives)
        return self._take_reset(observations, mask)

    def _take_reset(self, observations: Array, mask: Array) -> Array:
        """Return the observations after a masked reset; games that were not reset keep their filled stacks."""
        if self._stack > 1:
            self._start_stacks(observations, mask)
        if mask.all():
            return observations
        kept = self.observations.copy()
        kept[mask] = observations[mask]
        return kept

    def _game_seed(self, env: int) -> int:
        # Zero would leave ale-py's generator unseeded.
        entropy = np.random.SeedSequence([self.seed, self.first + env, int(self._seed_count[env])])
        return 1 + int(entropy.generate_state(1)[0]) % (2**31 - 2)

    def _start_stacks(self, observations: Array, mask: Array) -> None:
        if mask.any():
            self._first_frames[mask] = observations[mask, -1]
            observations[mask] = self._first_frames[mask, None]

    def _fill(self, observations: Array, ages: Array, mask: Array) -> None:
        """`ages`: steps since the game's first observation; the oldest `stack - 1 - age` planes are missing."""
        (young,) = np.nonzero(mask & (ages < self._stack - 1) & (ages > 0))
        for env in young:
            observations[env, : self._stack - 1 - ages[env]] = self._first_frames[env]

    # -- resuming ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return the state for `load_state_dict`, as copies that later steps do not modify."""
        actions, starts = self._log.kept()
        sequence = self._sequence
        visit = {} if sequence is None else {"visit": np.array([sequence.visit, sequence.steps])}
        return {
            **visit,
            "actions": actions,
            "starts": starts,
            "seed_count": self._seed_count.copy(),
            "returns": self._returns.copy(),
            "steps": self._steps.copy(),
            "must_fire": self._must_fire.copy(),
            "checksums": self._checksums(),
        }

    def _checksums(self) -> Array:
        return np.array([zlib.crc32(o.tobytes()) for o in self.observations], np.int64)

    def load_state_dict(self, state: Mapping[str, Any]) -> Array:
        """Replay the logged actions and return the observations to act on.

        Raises:
            RuntimeError: the replay differs from the saved games (another emulator version, or other settings).
        """
        state = {name: np.asarray(value) for name, value in state.items()}
        actions, starts = state["actions"], state["starts"]
        if actions.ndim != 2 or actions.shape[1] != self.num_envs:
            raise RuntimeError(f"the saved games have {actions.shape[-1]} environments, not {self.num_envs}")
        if actions.size and not 0 <= actions.min() <= actions.max() < self.num_actions:
            raise RuntimeError("the saved games contain actions the game does not have")  # ale-py would hang on them
        if any(state[name].shape != (self.num_envs,) for name in ("starts", "seed_count", "must_fire")):
            raise RuntimeError(f"the saved games do not have {self.num_envs} environments")
        counts = state["seed_count"] - 1
        self._seed_count = counts.copy()
        self._log = ActionLog(self.num_envs, self.num_actions)
        if self._sequence is not None:  # all current seeds and actions are of this visit
            visit, steps = (int(number) for number in state["visit"])
            self._sequence.enter(visit, steps - len(actions))
        self.reset()  # environments that were seeded later get a temporary seed, and theirs at its row
        self._seed_count = np.where(starts > 0, counts, counts + 1)
        for row in range(len(actions) + 1):
            seeded = starts == row
            if row and seeded.any():
                self.observations = self._reseed(seeded)
                self._returns[seeded] = 0
                self._steps[seeded] = 0
            if row < len(actions):
                self._log.append(actions[row])
                result = self._with_full_stacks(self.engine.step(actions[row]))
                over = result.terminated | result.truncated
                self._returns = np.where(over, 0, self._returns + result.rewards)
                self._steps = np.where(over, 0, self._steps + 1)
        self._must_fire = state["must_fire"].copy()
        replayed = self.state_dict()
        for name in ("returns", "steps", "seed_count", "checksums"):
            if not np.array_equal(replayed[name], state[name]):
                raise RuntimeError(
                    "the replayed games differ from the saved ones: another ale-py version or other settings"
                )
        return self.observations


class EnvironmentGroups:
    """Several `VectorEnvironment` of the same kind, numbered consecutively, with one state.

    The games equal those of a single `VectorEnvironment` with the same seed and actions.
    """

    def __init__(self, groups: Sequence[VectorEnvironment]) -> None:
        self.groups = tuple(groups)
        first = self.groups[0]
        self.num_envs = sum(group.num_envs for group in self.groups)
        self.observation_shape = first.observation_shape
        self.observation_dtype = first.observation_dtype
        self.action_names = first.action_names
        self.num_actions = first.num_actions
        self.frames_per_step = first.frames_per_step
        self.input_scale = first.input_scale

    @property
    def sequence_game(self) -> str:
        return self.groups[0].sequence_game

    @property
    def observations(self) -> Array:
        """[env, *observation_shape] of all groups."""
        return np.concatenate([group.observations for group in self.groups])

    def reset(self) -> Array:
        """Start every game: observations [env, *observation_shape]."""
        return np.concatenate([group.reset() for group in self.groups])

    def state_dict(self) -> dict[str, Any]:
        return {f"group_{i}": group.state_dict() for i, group in enumerate(self.groups)}

    def load_state_dict(self, state: Mapping[str, Any]) -> Array:
        """Raises:
        RuntimeError: the number of groups differs, or a replayed game differs from the saved one.
        """
        names = [f"group_{i}" for i in range(len(self.groups))]
        if sorted(state) != sorted(names):
            raise RuntimeError(f"the saved games do not have {len(names)} groups")
        return np.concatenate(
            [group.load_state_dict(state[name]) for name, group in zip(names, self.groups, strict=True)]
        )


Environments = VectorEnvironment | EnvironmentGroups  # what a learner steps
