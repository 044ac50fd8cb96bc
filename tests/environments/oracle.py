"""One Atari game driven frame by frame through ale-py: the reference for the vector environment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms

from hadamax.environments.atari import atari_games

FRAME_SKIP = 4


def shrink(picture: np.ndarray, size: int) -> np.ndarray:
    """Resize the first axis to `size` pixels by area averaging."""
    scale = len(picture) / size
    edges = np.arange(size + 1) * scale
    whole = np.minimum(edges.astype(int), len(picture) - 1)
    below = np.concatenate([np.zeros_like(picture[:1]), picture]).cumsum(axis=0)
    return np.diff(below[whole] + (edges - whole)[:, None] * picture[whole], axis=0) / scale


def small(screen: np.ndarray) -> np.ndarray:
    """Return a grey 84x84 screen without rounding."""
    return shrink(shrink(screen.astype(float), 84).T, 84).T


class Row(NamedTuple):
    """Result of a step. `last`: the final picture of an ended game."""

    reward: int
    lost_life: bool
    terminated: bool
    truncated: bool
    last: np.ndarray | None


class Oracle:
    """The protocol for one game: seed, FIRE, frame skip, maximum of two frames, ends."""

    def __init__(self, game: str, *, sticky: float, full: bool, fire_on_reset: bool, limit: int) -> None:
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self.rom, self.limit = roms.get_rom_path(atari_games()[game]), limit
        self.ale = ALEInterface()
        self.ale.setFloat("repeat_action_probability", sticky)
        self.ale.loadROM(self.rom)
        self.actions = self.ale.getLegalActionSet() if full else self.ale.getMinimalActionSet()
        self.names = [action.name for action in self.actions]
        self.fire_on_reset = fire_on_reset and "FIRE" in self.names

    def seed(self, seed: int) -> np.ndarray:
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(self.rom)
        return self.begin()

    def begin(self, noops: int = 0) -> np.ndarray:
        """Start a game and return its first picture."""
        self.ale.reset_game()
        if self.fire_on_reset:
            self.ale.act(self.actions[self.names.index("FIRE")])
        for _ in range(noops):
            self.ale.act(self.actions[0])
        self.elapsed, self.shown = 0, self.ale.getScreenGrayscale()
        return small(self.shown)

    def step(self, action: int) -> Row:
        reward, lives, pictures = 0, self.ale.lives(), []
        terminated = truncated = False
        for _ in range(FRAME_SKIP):
            reward += self.ale.act(self.actions[action])
            self.elapsed += 1
            terminated = self.ale.game_over()
            truncated = self.elapsed >= self.limit and not terminated
            if terminated or truncated:
                break
            pictures.append(self.ale.getScreenGrayscale())
        over = terminated or truncated
        if over:
            # ale-py ends without the last frame's picture and repeats the observation before it.
            pictures = [self.shown, *pictures[FRAME_SKIP - 2 :]]
        self.shown = np.maximum.reduce(pictures[-2:])
        lost_life = 0 < self.ale.lives() < lives and not over
        return Row(reward, lost_life, terminated, truncated, small(self.shown) if over else None)

    def picture(self) -> np.ndarray:
        return small(self.shown)
