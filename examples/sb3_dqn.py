"""DQN of Stable-Baselines3 with the Hadamax encoder: this library adds one import and two settings.

pip install '.[sb3]'  # in the clone
python examples/sb3_dqn.py --env ALE/Breakout-v5 --total-timesteps 10_000_000
"""

from __future__ import annotations

from dataclasses import dataclass

import ale_py
import gymnasium
import tyro
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack

from hadamax.integrations.stable_baselines3 import HadamaxExtractor  # from this library

gymnasium.register_envs(ale_py)


@dataclass(frozen=True)
class Settings:
    env: str = "ALE/Pong-v5"
    """Gymnasium id of an Atari game."""
    encoder: str = "hadamax"
    """A name in hadamax.ENCODERS."""
    total_timesteps: int = 10_000_000
    """Agent steps, four frames each."""
    buffer_size: int = 100_000
    """Transitions kept; each takes 56 KB."""
    learning_starts: int = 80_000
    """Steps before the first update."""
    seed: int = 1
    out: str = "dqn_hadamax.zip"
    """Path at which the model is saved."""


def main(settings: Settings) -> DQN:
    # Stable-Baselines3's wrapper skips frames itself.
    atari = {"frameskip": 1, "repeat_action_probability": 0.0}
    env = VecFrameStack(make_atari_env(settings.env, seed=settings.seed, env_kwargs=atari), n_stack=4)
    model = DQN(
        "CnnPolicy",
        env,
        policy_kwargs={
            "features_extractor_class": HadamaxExtractor,  # from this library
            "features_extractor_kwargs": {"encoder": settings.encoder},  # from this library
            "net_arch": [],
        },
        learning_rate=1e-4,
        buffer_size=settings.buffer_size,
        learning_starts=settings.learning_starts,
        target_update_interval=1000,
        exploration_fraction=0.1,
        exploration_final_eps=0.01,
        seed=settings.seed,
    )
    model.learn(settings.total_timesteps)
    model.save(settings.out)
    return model


if __name__ == "__main__":
    main(tyro.cli(Settings))
