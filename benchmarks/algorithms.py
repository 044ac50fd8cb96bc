"""Agent steps a second of DQN, C51 and Rainbow, beside Stable-Baselines3's DQN.

    pip install '.[sb3]'
    python benchmarks/algorithms.py --threads 1 --clock cpu

Both play the same emulators (ours, through an adapter), with the same network (Nature CNN), number of environments,
batch, replay size, ratio of updates to steps and threads, in float32, in turns within one process. Neither
Stable-Baselines3 nor its contrib package has C51 or Rainbow: theirs to compare with is their DQN, which does less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from hadamax.algorithms import ALGORITHMS
from hadamax.clock import Clock
from hadamax.environments import EnvironmentSettings, VectorEnvironment, make_environment
from hadamax.kernels import keep_memory
from hadamax.networks import build_encoder

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
STARTS, REPLAY, TRAIN_EVERY, EPSILON = 128, 5_000, 4, 0.1


def make_ours(name: str, environment: VectorEnvironment, steps: int, precision: torch.dtype, **settings: Any) -> Any:
    entry = ALGORITHMS[name]
    if name != "rainbow":
        settings |= {"epsilon_start": EPSILON, "epsilon_end": EPSILON}
    learner = entry.build(
        entry.settings(
            num_envs=environment.num_envs,
            replay_size=REPLAY,
            learning_starts=STARTS,
            train_every=TRAIN_EVERY,
            iteration_steps=steps,
            **settings,
        ),
        environment,
        build_encoder("nature", observation_shape=environment.observation_shape, input_scale=255.0),
        decay_frames=10**8,
        reward_clipping=True,
        device=torch.device("cpu"),
        precision=precision,
        seed=0,
        clock=Clock(),
    )
    learner.reset()
    while learner.steps <= STARTS:
        learner.iteration()
    return learner.iteration


def make_theirs(environment: VectorEnvironment, steps: int) -> Any:
    from stable_baselines3 import DQN
    from stable_baselines3.common.vec_env import VecEnv

    class Adapter(VecEnv):
        """Our environments in the shape of theirs."""

        def __init__(self) -> None:
            shape = environment.observation_shape
            super().__init__(environment.num_envs, Box(0, 255, shape, np.uint8), Discrete(environment.num_actions))

        def reset(self) -> np.ndarray:
            return environment.reset()

        def step_async(self, actions: np.ndarray) -> None:
            self.actions = actions

        def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
            step = environment.step(self.actions)
            infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            for env, last in zip(step.ended, step.final_observations, strict=True):
                infos[env] = {"terminal_observation": last, "TimeLimit.truncated": bool(step.truncated[env])}
            return step.observations, step.rewards.clip(-1, 1), step.terminated | step.truncated, infos

        def close(self) -> None: ...
        def get_attr(self, name: str, indices: Any = None) -> list[Any]:
            return [None] * self.num_envs

        def set_attr(self, name: str, value: Any, indices: Any = None) -> None: ...
        def env_method(self, name: str, *args: Any, indices: Any = None, **options: Any) -> list[Any]:
            return [None] * self.num_envs

        def env_is_wrapped(self, wrapper: Any, indices: Any = None) -> list[bool]:
            return [False] * self.num_envs

    model = DQN(
        "CnnPolicy",
        Adapter(),
        learning_rate=1e-4,
        buffer_size=REPLAY,
        learning_starts=STARTS,
        batch_size=32,
        train_freq=max(TRAIN_EVERY // environment.num_envs, 1),
        gradient_steps=max(environment.num_envs // TRAIN_EVERY, 1),
        target_update_interval=1000,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        policy_kwargs={"net_arch": []},  # the head stands on the CNN's 512 features, as ours does
        device="cpu",
        seed=0,
        optimize_memory_usage=False,
    )
    model.learn(STARTS, reset_num_timesteps=False)
    return lambda: model.learn(steps, reset_num_timesteps=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-envs", type=int, default=1)
    parser.add_argument("--steps", type=int, default=64, help="a turn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_memory()

    def environment() -> VectorEnvironment:
        return make_environment(EnvironmentSettings("Breakout"), options.num_envs, seed=0, threads=options.threads)

    jobs = {"Stable-Baselines3 DQN": make_theirs(environment(), options.steps)}
    ours: dict[str, tuple[str, torch.dtype, dict[str, Any]]] = {
        "DQN": ("dqn", torch.float32, {"double": False}),
        "DQN, double": ("dqn", torch.float32, {}),
        "C51": ("c51", torch.float32, {}),
        "Rainbow": ("rainbow", torch.float32, {}),
        "DQN, bfloat16": ("dqn", torch.bfloat16, {"double": False}),
    }
    for name, (algorithm, precision, settings) in ours.items():
        jobs[name] = make_ours(algorithm, environment(), options.steps, precision, **settings)
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(options.rounds + 1):
        for name, job in jobs.items():
            start = CLOCKS[options.clock]()
            job()
            if round_:
                times[name].append(CLOCKS[options.clock]() - start)
    theirs = statistics.median(times["Stable-Baselines3 DQN"])
    print(f"{options.num_envs} environments, {options.threads} threads, {options.clock} time, {options.rounds} rounds")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:<24}{options.steps / median:8.0f} steps/s  {theirs / median:5.2f} x Stable-Baselines3's DQN")


if __name__ == "__main__":
    main()
