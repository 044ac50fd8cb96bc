"""Diagnostics of a Stable-Baselines3 model: a callback that measures its layers during training.

pip install '.[sb3]'  # in the clone
python examples/sb3_diagnostics.py --env ALE/Breakout-v5 --total-timesteps 1_000_000
"""

from __future__ import annotations

from dataclasses import dataclass

import ale_py
import gymnasium
import tyro
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack

from hadamax.diagnostics import Health, measure, observe
from hadamax.diagnostics.signs import signs

gymnasium.register_envs(ale_py)


@dataclass(frozen=True)
class Settings:
    env: str = "ALE/Pong-v5"
    """Gymnasium id of an Atari game."""
    total_timesteps: int = 1_000_000
    """Agent steps, four frames each."""
    every: int = 50_000
    """Agent steps between measurements."""
    observations: int = 1024
    """Observations from the replay buffer per measurement."""
    buffer_size: int = 100_000
    learning_starts: int = 10_000


class Diagnostics(BaseCallback):
    """Callback that measures every layer of the Q-network on replayed observations and prints warnings."""

    def __init__(self, every: int, observations: int) -> None:
        super().__init__()
        self.every, self.observations = every, observations
        self.health: list[Health] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every == 0:
            seen = self.model.replay_buffer.sample(self.observations).observations
            self.health = measure(observe(self.model.q_net, seen))  # for PPO: observe(self.model.policy, ...)
            for layer in self.health:
                rank = f"effective rank {layer.effective_rank} of {min(layer.units, layer.samples)}"
                print(f"{self.num_timesteps:>9,}  {layer.layer:<40} dead {layer.dead_zero:4.0%}  {rank}")
                self.logger.record(f"diagnostics/{layer.layer}/effective_rank", layer.effective_rank)
            print(*signs(self.health), sep="\n")
        return True


def main(s: Settings) -> list[Health]:
    atari = {"frameskip": 1, "repeat_action_probability": 0.0}
    env = VecFrameStack(make_atari_env(s.env, env_kwargs=atari), n_stack=4)
    model = DQN("CnnPolicy", env, buffer_size=s.buffer_size, learning_starts=s.learning_starts, learning_rate=1e-4)
    callback = Diagnostics(s.every, s.observations)
    model.learn(s.total_timesteps, callback=callback)
    return callback.health


if __name__ == "__main__":
    main(tyro.cli(Settings))
