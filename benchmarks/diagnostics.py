"""Cost of diagnostics: the density estimate, and a whole measurement relative to a run's measurement interval.

    python benchmarks/diagnostics.py --threads 2 --json diagnostics.json

Learner and measurement run one after the other in one process, so the ratio is consistent. Environment steps are
excluded, which makes the interval shorter and the share larger than in a run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hadamax.algorithms.pqn import PQN, PQNSettings
from hadamax.clock import Clock
from hadamax.diagnostics import effective_rank, kde_peak_density
from hadamax.environments.engine import EngineStep
from hadamax.environments.vector import VectorEnvironment
from hadamax.kernels import keep_memory
from hadamax.networks import build_encoder
from hadamax.runs.diagnostics import OBSERVATIONS, Diagnostics

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
INTERVAL = 1_000_000  # frames between measurements


class Still:
    """Engine whose games cost no time and show noise, so that only the learner is timed."""

    observation_shape, observation_dtype = (4, 84, 84), np.dtype(np.uint8)
    action_names = ("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN")
    frames_per_step, input_scale, reseed_steps, stack = 4, 255.0, 10**9, 1

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.observations = np.random.default_rng(0).integers(0, 256, (num_envs, *self.observation_shape), np.uint8)

    def reset(self, mask: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.observations, np.zeros(self.num_envs, np.int64)

    def step(self, actions: np.ndarray) -> EngineStep:
        no = np.zeros(self.num_envs, bool)
        return EngineStep(self.observations, no.astype(np.float64), no, no, no.astype(np.int64), None)


def milliseconds(job: Callable[[], object], rounds: int) -> list[float]:
    """Time each round after the first."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        job()
        times.append((time.perf_counter() - start) * 1e3)
    return times[1:]


def measurement(encoder: str, precision: str, device: str, rounds: int, **changed: int) -> dict[str, Any]:
    """Time a measurement, including weights and churn, and the learner's interval.

    Args:
        changed: settings of PQN other than its own.
    """
    settings = PQNSettings(num_test_envs=0, **changed)
    algorithm = PQN(
        settings,
        VectorEnvironment(Still(settings.num_envs), seed=1),
        build_encoder(encoder),
        decay_frames=INTERVAL,
        reward_clipping=True,
        device=torch.device(device),
        precision=PRECISIONS[precision],
        seed=1,
        clock=Clock(),
    )
    fixed = np.random.default_rng(1).integers(0, 256, (OBSERVATIONS, 4, 84, 84), np.uint8)
    diagnostics = Diagnostics(algorithm, algorithm.frames_per_iteration, 1, lambda: fixed, print)
    iterations, measurements = [], []
    for _ in range(rounds + 1):
        diagnostics.seconds = 0.0
        diagnostics.before_iteration()
        start = time.perf_counter()
        algorithm.iteration()
        iterations.append(time.perf_counter() - start)
        rows = diagnostics.after_iteration()
        measurements.append(diagnostics.seconds)
    interval = statistics.median(iterations[1:]) * INTERVAL / algorithm.frames_per_iteration
    seconds = statistics.median(measurements[1:])
    return {
        "rows": len(rows),
        "measurement_seconds": seconds,
        "interval_seconds": interval,
        "share": seconds / (interval + seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["nature-norm"])
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_memory()

    results: dict[str, Any] = {"settings": vars(options)}
    units = {
        "spread": torch.randn(4096, 512).tanh(),
        "collapsed": torch.full((4096, 512), 0.9),
        "heavy-tailed": torch.distributions.StudentT(2.0).sample((4096, 512)),
    }
    results["density_ms"] = {
        name: milliseconds(lambda given=given: kde_peak_density(given), options.rounds) for name, given in units.items()
    }
    features, maps = torch.randn(2048, 512), torch.randn(512, 12800)
    results["effective_rank_ms"] = {
        "2,048 x 512": milliseconds(lambda: effective_rank(features), options.rounds),
        "512 x 12,800": milliseconds(lambda: effective_rank(maps), options.rounds),
    }
    print(f"{options.threads} threads, median (least)")
    for name, title in (("density_ms", "density, 512 units x 4,096"), ("effective_rank_ms", "effective rank")):
        for kind, times in results[name].items():
            print(f"  {title}, {kind}: {statistics.median(times):.1f} ({min(times):.1f}) ms")
    for encoder in options.encoders:
        found = results[encoder] = measurement(encoder, options.precision, options.device, options.rounds)
        print(
            f"  {encoder}: {found['measurement_seconds']:.2f} s each {INTERVAL:,} frames, which the learner alone "
            f"takes {found['interval_seconds']:.0f} s for: {found['share']:.2%}"
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
