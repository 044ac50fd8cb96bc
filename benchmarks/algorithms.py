"""Agent steps per second of every algorithm, compared with other implementations of the same algorithm.

    pip install '.[sb3]'
    python benchmarks/algorithms.py

DQN and PPO are compared with Stable-Baselines3. It has no C51, Rainbow or PQN, nor has its contrib package, so those
are compared with reimplementations of CleanRL's scripts (`cleanrl_forms.py`, `cleanrl_pqn.py`). Both sides of a pair
use the same emulators, network, number of environments, batch size, replay size, ratio of updates to steps and threads,
and alternate in one process, so that disturbances affect both. Rates are medians over rounds, with minimum and maximum;
the ratio is the median of the ratios of adjacent turns. Our side runs in float32, as the other side, and in the default
precision of `hadamax train`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import cleanrl_forms
import cleanrl_pqn
import stable_baselines
import torch

from hadamax.algorithms import ALGORITHMS
from hadamax.clock import Clock
from hadamax.environments import EnvironmentSettings, VectorEnvironment, make_environment
from hadamax.kernels import keep_memory
from hadamax.networks import build_encoder
from hadamax.networks.norms import Norm
from hadamax.runs.machine import PRECISIONS, choose_precision

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
STARTS, REPLAY, EVERY, EPSILON = 128, 5_000, 4, 0.1
EXPLORING = {"epsilon_start": EPSILON, "epsilon_end": EPSILON}
ROLLOUTS = {"num_envs": 8, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "num_test_envs": 0}
Turn = Callable[[], Any]


def ours(name: str, precision: torch.dtype, environment: VectorEnvironment, norm: Norm | None, **settings: Any) -> Turn:
    """Return a function that runs one iteration of an algorithm that has started to learn."""
    entry = ALGORITHMS[name]
    learner: Any = entry.build(
        entry.settings(**settings),
        environment,
        build_encoder("nature", observation_shape=environment.observation_shape, input_scale=255.0, norm=norm),
        decay_frames=10**8,
        reward_clipping=True,
        device=torch.device("cpu"),
        precision=precision,
        seed=0,
        clock=Clock(),
    )
    learner.reset()
    while learner.frames <= STARTS * environment.frames_per_step:
        learner.iteration()
    iteration: Turn = learner.iteration
    return iteration


class Pair:
    """An algorithm with its peer and the settings of ours."""

    def __init__(self, name: str, theirs: str, steps: int, norm: Norm | None = None, **settings: Any) -> None:
        self.name, self.theirs, self.steps, self.norm, self.settings = name, theirs, steps, norm, settings

    def peer(self, environment: VectorEnvironment) -> Turn:
        replay = {"starts": STARTS, "size": REPLAY, "every": EVERY}
        if self.name == "c51":
            turn = cleanrl_forms.c51(environment, self.steps, **replay, epsilon=EPSILON)
        elif self.name == "rainbow":
            turn = cleanrl_forms.rainbow(environment, self.steps, **replay)
        elif self.name == "pqn":
            turn = cleanrl_pqn.pqn(environment, num_steps=128, epochs=4, minibatches=4, epsilon=EPSILON)
        elif self.name == "ppo":
            turn = stable_baselines.ppo(environment)
        else:
            turn = stable_baselines.dqn(environment, self.steps, **replay, epsilon=EPSILON)
        for _ in range(-(-2 * STARTS // self.steps)):  # until it learns, as for ours
            turn()
        return turn


def pairs(steps: int) -> list[Pair]:
    """List every algorithm with its peer."""
    replay = {"num_envs": 1, "replay_size": REPLAY, "learning_starts": STARTS, "iteration_steps": steps}
    replay["train_every"] = EVERY
    rows = ROLLOUTS["num_envs"] * ROLLOUTS["num_steps"]
    norm = Norm(over="map", affine=True, eps=1e-5)
    sb3, cleanrl = "Stable-Baselines3", "CleanRL's script"
    return [
        Pair("dqn", f"{sb3}, both not double", steps, **replay, **EXPLORING, double=False),
        Pair("dqn", f"{sb3}, not double", steps, **replay, **EXPLORING),
        Pair("c51", cleanrl, steps, **replay, **EXPLORING),
        Pair("rainbow", cleanrl, steps, **replay),
        Pair("pqn", cleanrl, rows, norm, **ROLLOUTS, **EXPLORING),
        Pair("ppo", sb3, rows, **ROLLOUTS),
    ]


def measure(turns: dict[str, Turn], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Time the turns in rounds; the first round is discarded."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for round_ in range(rounds + 1):
        for name, turn in turns.items():
            start = clock()
            turn()
            if round_:
                seconds[name].append(clock() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=64, help="steps per turn of the algorithms with a replay buffer")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--only", nargs="*", choices=[*ALGORITHMS], help="only these algorithms")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_memory()
    measured = f"{options.threads} threads, {options.clock} time, {options.rounds} rounds"
    print(f"agent steps per second, {measured}", flush=True)
    precisions = ["float32", choose_precision("auto", torch.device("cpu"))]
    for pair in pairs(options.steps):
        if options.only and pair.name not in options.only:
            continue

        def environment(pair: Pair = pair) -> VectorEnvironment:
            return make_environment(
                EnvironmentSettings("Breakout"), pair.settings["num_envs"], seed=0, threads=options.threads
            )

        torch.manual_seed(0)
        turns = {pair.theirs: pair.peer(environment())}
        for precision in dict.fromkeys(precisions):
            learner = ours(pair.name, PRECISIONS[precision], environment(), pair.norm, **pair.settings)
            turns[f"{pair.name}, {precision}"] = learner
        seconds = measure(turns, options.rounds, CLOCKS[options.clock])
        for name, found in seconds.items():
            rates = sorted(pair.steps / s for s in found)
            ratio = statistics.median(theirs / s for theirs, s in zip(seconds[pair.theirs], found, strict=True))
            spread = f"({rates[0]:.0f} to {rates[-1]:.0f})"
            beside = "" if name == pair.theirs else f"{ratio:5.2f} x"
            print(f"  {name:<38}{statistics.median(rates):7.0f} {spread:<16}{beside}", flush=True)


if __name__ == "__main__":
    main()
