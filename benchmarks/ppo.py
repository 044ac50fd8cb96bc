"""PPO steps per second, compared with Stable-Baselines3 in the same process, games, network, settings and threads.

    pip install stable-baselines3
    python benchmarks/ppo.py --threads 1 --json ppo.json

Both step the same vector environment (Stable-Baselines3 through a thin adapter instead of its slower wrappers), learn
with a Nature CNN in float32 and the settings of HR Table 5, and alternate, so that disturbances affect both. The ratio
is of the medians. `--clock cpu` counts this process's CPU time, for a machine with other load. A third line shows ours
in bfloat16, the default of `hadamax train` on CPUs with native bfloat16.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import stable_baselines
import torch

from hadamax.algorithms.ppo import PPO, PPOSettings
from hadamax.clock import Clock
from hadamax.environments import EnvironmentSettings, VectorEnvironment, make_environment
from hadamax.kernels import keep_memory
from hadamax.networks import build_encoder

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SETTINGS = PPOSettings()
STEPS = SETTINGS.num_envs * SETTINGS.num_steps  # per iteration


def ours(environment: VectorEnvironment, precision: torch.dtype, device: torch.device) -> Any:
    """Return a function that runs one iteration."""
    encoder = build_encoder("nature", observation_shape=environment.observation_shape)
    place: dict[str, Any] = {"device": device, "precision": precision, "seed": 1, "clock": Clock()}
    learner = PPO(SETTINGS, environment, encoder, decay_frames=4 * 10**7, reward_clipping=True, **place)
    learner.reset()
    return learner.iteration


def main() -> None:
    """Measure, print and optionally write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Pong")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the numbers to this file")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_memory()
    device = torch.device(given.device)

    def environment() -> VectorEnvironment:
        return make_environment(EnvironmentSettings(given.env), SETTINGS.num_envs, seed=1, threads=given.threads)

    jobs = {
        "stable-baselines3": stable_baselines.ppo(environment(), device),
        "ours": ours(environment(), torch.float32, device),
        "ours, bfloat16": ours(environment(), torch.bfloat16, device),
    }
    clock = CLOCKS[given.clock]
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(given.rounds + 1):  # the first is discarded
        for name, job in jobs.items():
            start = clock()
            job()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if round_:
                rates[name].append(STEPS / (clock() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(
        f"{given.env}, {SETTINGS.num_envs} environments, {given.threads} threads, {given.device}, {given.clock} clock"
    )
    for name, median in medians.items():
        ratio = median / medians["stable-baselines3"]
        print(f"{name:20s} {median:8.0f} steps/s   {ratio:5.2f} of stable-baselines3   {sorted(map(int, rates[name]))}")
    if given.json:
        with open(given.json, "w") as file:
            json.dump({"settings": vars(given), "steps_per_second": rates, "medians": medians}, file, indent=1)


if __name__ == "__main__":
    main()
