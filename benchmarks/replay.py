"""Replay buffers of this library, Stable-Baselines3 and cpprb: memory, adding, sampling.

    pip install '.[sb3]' cpprb
    python benchmarks/replay.py --size 1_000_000

All return batches of 32 stacked Atari observations and their successors. Libraries that are not installed are skipped.
The candidates run in turns within one process; ratios are of medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hadamax.kernels import keep_memory
from hadamax.replay.buffer import Replay
from hadamax.replay.memory import gigabytes

SHAPE = (4, 84, 84)
BATCH = 32
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def observation(generator: np.random.Generator) -> np.ndarray:
    return generator.integers(0, 256, (1, *SHAPE), dtype=np.uint8)


class Ours:
    def __init__(self, size: int, *, n_step: int = 1, prioritised: bool = False) -> None:
        self.prioritised = prioritised
        self.replay = Replay(size, 1, SHAPE, np.dtype(np.uint8), stack=4, n_step=n_step, prioritised=prioritised)
        self.no, self.yes = np.zeros(1, bool), np.ones(1, bool)
        self.none, self.nobody = np.empty((0, *SHAPE), np.uint8), np.empty(0, np.int64)
        self.replay.begin(np.zeros((1, *SHAPE), np.uint8))

    def add(self, now: np.ndarray, later: np.ndarray) -> None:
        zero = np.zeros(1, np.int64)
        self.replay.add(zero, zero, self.no, self.no, self.yes, later, self.nobody, self.none)

    def sample(self) -> Any:
        batch = self.replay.sample(BATCH)
        if self.prioritised:
            self.replay.prioritise(batch.slots, np.ones(BATCH))
        return batch

    def nbytes(self) -> int:
        return self.replay.nbytes


class StableBaselines3:
    def __init__(self, size: int) -> None:
        from gymnasium.spaces import Box, Discrete
        from stable_baselines3.common.buffers import ReplayBuffer

        space = Box(0, 255, SHAPE, np.uint8)
        options = {"optimize_memory_usage": True, "handle_timeout_termination": False}
        self.buffer = ReplayBuffer(size, space, Discrete(6), "cpu", n_envs=1, **options)

    def add(self, now: np.ndarray, later: np.ndarray) -> None:
        zero = np.zeros(1)
        self.buffer.add(now, later, zero, zero, zero, [{}])

    def sample(self) -> Any:
        return self.buffer.sample(BATCH)

    def nbytes(self) -> int:
        return self.buffer.observations.nbytes


class Cpprb:
    def __init__(self, size: int, *, prioritised: bool = False) -> None:
        import cpprb

        kind = cpprb.PrioritizedReplayBuffer if prioritised else cpprb.ReplayBuffer
        fields = {"obs": {"shape": (84, 84, 4), "dtype": np.uint8}, "act": {}, "rew": {}, "done": {}}
        self.prioritised = prioritised
        self.buffer = kind(size, fields, next_of="obs", stack_compress="obs")
        self.size = size

    def add(self, now: np.ndarray, later: np.ndarray) -> None:
        obs, following = (x[0].transpose(1, 2, 0) for x in (now, later))
        self.buffer.add(obs=obs, next_obs=following, act=0, rew=0, done=0)

    def sample(self) -> Any:
        batch = self.buffer.sample(BATCH)
        if self.prioritised:
            self.buffer.update_priorities(batch["indexes"], np.ones(BATCH))
        return torch.from_numpy(batch["obs"]), torch.from_numpy(batch["next_obs"])

    def nbytes(self) -> int:
        return self.size * 84 * 84


def candidates(size: int, stacked: int) -> dict[str, Any]:
    """Yield each replay buffer with its size; those that store whole stacks do not fit a million."""
    wanted: dict[str, Callable[[], Any]] = {
        "ours, 1 step": lambda: Ours(size),
        "ours, 3 steps": lambda: Ours(size, n_step=3),
        "ours, 3 steps, prioritised": lambda: Ours(size, n_step=3, prioritised=True),
        "Stable-Baselines3, 1 step": lambda: StableBaselines3(stacked),
        "cpprb, 1 step": lambda: Cpprb(size),
        "cpprb, 1 step, prioritised": lambda: Cpprb(size, prioritised=True),
    }
    found = {}
    for name, make in wanted.items():
        try:
            found[name] = (make, stacked if name.startswith("Stable") else size)
            __import__({"S": "stable_baselines3", "c": "cpprb"}.get(name[0], "hadamax"))
        except ImportError:
            del found[name]
            print(f"{name}: not installed")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=lambda text: int(text.replace("_", "")), default=100_000)
    parser.add_argument("--stacked-size", type=int, default=20_000, help="size of buffers that store whole stacks")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    clock, generator = CLOCKS[options.clock], np.random.default_rng(0)
    frames = [observation(generator) for _ in range(64)]
    for name, (make, size) in candidates(options.size, options.stacked_size).items():
        replay, adding, drawing = make(), [], []
        for i in range(size):
            start = clock()
            replay.add(frames[i % 64], frames[(i + 1) % 64])
            adding.append(clock() - start)
        for _ in range(options.rounds):
            start = clock()
            replay.sample()
            drawing.append(clock() - start)
        micro = [statistics.median(times[len(times) // 10 :]) * 1e6 for times in (adding, drawing)]
        per_million = gigabytes(replay.nbytes() / size * 1_000_000)
        print(
            f"{name:<28} {size:>9,} rows, {per_million:>9} a million; "
            f"add {micro[0]:6.1f} us, draw {micro[1]:6.1f} us (least {min(drawing) * 1e6:.1f})"
        )
        del replay


if __name__ == "__main__":
    main()
