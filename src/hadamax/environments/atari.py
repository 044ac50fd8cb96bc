"""Atari 2600 games through ale-py's own vector environment (ROMs included).

ale-py resets a finished game within the step (SAME_STEP), so no step is spent on a reset. `terminated` means game over:
a lost life is read from the number of lives, because ale-py's own episodic-life option restarts the whole game.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from hadamax.environments.engine import Array, EngineStep
from hadamax.errors import UserError, unknown


def atari_games() -> dict[str, str]:
    """Return ale-py's ROM ids by the game's usual name: {"MsPacman": "ms_pacman", ...}."""
    from ale_py import roms

    return {"".join(word.capitalize() for word in rom.split("_")): rom for rom in roms.get_all_rom_ids()}


@cache
def atari_name(env: str) -> str | None:
    """Return the game that `Pong`, `ALE/Pong-v5` or `PongNoFrameskip-v4` names; None if it is not an Atari game."""
    # Versions 0, 4 and 5 only: `Blackjack-v1` is Gymnasium's own. RAM ids have no images.
    match = re.fullmatch(r"(?:ALE/)?([A-Za-z0-9_]+?)(?:NoFrameskip|Deterministic)?(?:-v[045])?", env)
    if match is None:
        return None
    by_key = {name.lower(): name for name in atari_games()}
    return by_key.get(match.group(1).replace("_", "").lower())


class AtariEngine:
    """A batch of one Atari game: observations uint8 [env, stack, size, size], raw rewards."""

    # Seeding reloads the ROM (85 ms; a step takes 0.35 ms), so games are re-seeded every few thousand steps only.
    reseed_steps = 4000
    input_scale = 255.0
    observation_dtype = np.dtype(np.uint8)

    def __init__(
        self,
        game: str,
        num_envs: int,
        *,
        threads: int = 0,
        sticky_actions: float = 0.0,
        full_action_set: bool = False,
        noop_max: int = 30,
        fire_on_reset: bool = True,
        frame_skip: int = 4,
        frame_stack: int = 4,
        screen_size: int = 84,
        max_episode_frames: int = 108_000,
        colour: bool = False,
    ) -> None:
        from ale_py import Action
        from ale_py.vector_env import AtariVectorEnv

        games = atari_games()
        if game not in games:
            raise unknown("env", game, games)
        if max_episode_frames < frame_skip:
            raise UserError(f"max_episode_frames: {max_episode_frames} is less than one step of {frame_skip} frames")
        self._vector = AtariVectorEnv(
            games[game],
            num_envs,
            num_threads=min(threads, num_envs),
            repeat_action_probability=sticky_actions,
            full_action_space=full_action_set,
            noop_max=noop_max + 1,  # ale-py draws a number below its noop_max and counts FIRE as a no-op
            use_fire_reset=fire_on_reset,
            frameskip=frame_skip,
            maxpool=frame_skip > 1,
            stack_num=frame_stack,
            img_height=210 if colour else screen_size,
            img_width=160 if colour else screen_size,
            grayscale=not colour,
            max_num_frames_per_episode=max_episode_frames,
            reward_clipping=False,
            autoreset_mode="SameStep",
        )
        self.num_envs = num_envs
        self.frames_per_step = frame_skip
        self.stack = frame_stack
        self.observation_shape = tuple(self._vector.single_observation_space.shape or ())
        self.action_names = tuple(Action(action).name for action in self._vector.ale.get_action_set())

    def reset(self, mask: Array, seeds: Array) -> tuple[Array, Array]:
        options = None if mask.all() else {"reset_mask": mask}
        observations, info = self._vector.reset(seed=seeds, options=options)
        return observations, info["lives"]

    def step(self, actions: Array) -> EngineStep:
        self.send(actions)
        return self.receive()

    def send(self, actions: Array) -> None:
        self._vector.send(actions.astype(np.int64))

    def receive(self) -> EngineStep:
        observations, rewards, terminated, truncated, info = self._vector.recv()
        return EngineStep(observations, rewards, terminated, truncated, info["lives"], info.get("final_obs"))
