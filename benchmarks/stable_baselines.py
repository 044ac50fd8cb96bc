"""Stable-Baselines3's DQN and PPO on our environments, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import VecEnv

from hadamax.algorithms.ppo import PPOSettings
from hadamax.environments import VectorEnvironment

Turn = Callable[[], Any]


class PeerEnvironment(VecEnv):
    """Adapter of our environments to Stable-Baselines3, with clipped rewards, instead of its slower wrappers."""

    def __init__(self, environment: VectorEnvironment) -> None:
        self.environment = environment
        observations = Box(0, 255, environment.observation_shape, np.uint8)
        super().__init__(environment.num_envs, observations, Discrete(environment.num_actions))

    def reset(self) -> Any:
        return self.environment.reset()

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> Any:
        step = self.environment.step(self.actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for env, final in zip(step.ended, step.final_observations, strict=True):
            infos[env] = {"terminal_observation": final, "TimeLimit.truncated": bool(step.truncated[env])}
        for env in np.flatnonzero(step.terminated):
            infos[env].setdefault("terminal_observation", step.observations[env])
        return step.observations, step.rewards.clip(-1, 1), step.terminated | step.truncated, infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return []

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [True] * self.num_envs  # no episode statistics, as for ours


def dqn(environment: VectorEnvironment, steps: int, *, starts: int, size: int, every: int, epsilon: float) -> Turn:
    """Return a function that runs `steps` steps of its DQN, which is not double."""
    model = DQN(
        "CnnPolicy",
        PeerEnvironment(environment),
        learning_rate=1e-4,
        buffer_size=size,
        learning_starts=starts,
        batch_size=32,
        train_freq=every,
        gradient_steps=1,
        target_update_interval=1000,
        exploration_initial_eps=epsilon,
        exploration_final_eps=epsilon,
        policy_kwargs={"net_arch": []},  # the head reads the CNN's 512 features, as in ours
        device="cpu",
        seed=0,
    )
    return lambda: model.learn(steps, reset_num_timesteps=False)


def ppo(environment: VectorEnvironment, device: Any = "cpu") -> Turn:
    """Return a function that runs one iteration with the settings of HR Table 5."""
    s = PPOSettings()
    rows = s.num_envs * s.num_steps
    model = PPO(
        "CnnPolicy",
        PeerEnvironment(environment),
        learning_rate=s.learning_rate,
        n_steps=s.num_steps,
        batch_size=rows // s.num_minibatches,
        n_epochs=s.num_epochs,
        gamma=s.gamma,
        gae_lambda=s.gae_lambda,
        clip_range=s.clip,
        clip_range_vf=s.clip,
        ent_coef=s.entropy_coefficient,
        vf_coef=s.value_coefficient,
        max_grad_norm=s.max_grad_norm,
        policy_kwargs={"optimizer_kwargs": {"eps": s.adam_epsilon}},
        device=device,
        seed=1,
    )
    return lambda: model.learn(rows, reset_num_timesteps=False)
