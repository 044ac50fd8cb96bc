"""Performance on a CUDA GPU: fused blocks, a training step and Hadamax-PQN, compared with the GPU's limits.

    python benchmarks/on_cuda.py --json cuda.json          # minutes: blocks, step, a few iterations extrapolated to 40M
    python benchmarks/on_cuda.py --full --json cuda.json   # also `hadamax train` of 40M frames, and several runs at
    once

The limits are measured: bytes per second of a large copy, operations per second of a large matrix multiplication.
Blocks and encoder are timed on the GPU alone, with inputs in its memory; launch overhead is included in the iterations.
Record results and expectations in NOTES.md. (A script named cuda.py would hide the package `cuda`, which PyTorch
imports.)
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hadamax.algorithms.pqn import PQNSettings
from hadamax.benchmark.doctor import describe, serving
from hadamax.benchmark.products import layers_of
from hadamax.clock import Clock
from hadamax.environments import EnvironmentSettings
from hadamax.kernels import hadamax_block
from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.reference import reference_block
from hadamax.networks import build_encoder
from hadamax.runs.logs import read_csv
from hadamax.runs.settings import NetworkSettings, RunSettings, TrainSettings
from hadamax.runs.setup import make_algorithm, resolve, training_environment

BATCH = 128
FRAMES = 40_000_000
QUEUE = 20_000_000  # cycles, about 10 ms, in which the host launches all timed work before the GPU starts it
CACHE = 2**28  # bytes, more than the L2 cache of any GPU
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Channels of a branch, map, pool: the three blocks of `hadamax` on 84 x 84.
BLOCKS = ((32, 84, (4, 4, 0, 0)), (64, 21, (2, 2, 0, 1)), (64, 11, (3, 1, 1, 1)))


def milliseconds(job: Callable[[], object], rounds: int = 30) -> float:
    """Return the median time of a job on the GPU, with cold caches, after warm-up runs."""
    times, other = [], torch.empty(CACHE, dtype=torch.uint8, device="cuda")
    for number in range(rounds + 5):
        other.zero_()
        torch.cuda._sleep(QUEUE)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        job()
        end.record()
        torch.cuda.synchronize()
        if number >= 5:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def limits(dtype: torch.dtype) -> tuple[float, float]:
    """Measure the GPU's bytes and operations per millisecond."""
    source = torch.empty(2**28, device="cuda")  # 1 GiB
    target = torch.empty_like(source)
    speed = 2 * source.nbytes / milliseconds(lambda: target.copy_(source))
    a = torch.randn(8192, 8192, device="cuda", dtype=dtype)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, the default for float32 convolutions
    rate = 2 * 8192**3 / milliseconds(lambda: a @ a)
    torch.set_float32_matmul_precision(before)
    return speed, rate


def block(index: int, dtype: torch.dtype, speed: float) -> dict[str, float]:
    """Time one block after its convolution: kernels, plain PyTorch, and the lower bound by memory traffic, in ms."""
    channels, size, pool = BLOCKS[index]
    variant = BlockConfig(2, ("gelu_tanh",) * 2, "product", "channels", 1e-6, pool)
    x = torch.randn(BATCH, 2 * channels, size, size, device="cuda", dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.ones(2 * channels, device="cuda", requires_grad=True)
    bias = torch.zeros(2 * channels, device="cuda", requires_grad=True)
    forms: dict[str, Callable[[], Tensor]] = {
        "fused": lambda: hadamax_block(x, weight, bias, **variant._asdict()),
        "plain": lambda: reference_block(x, weight, bias, variant),
    }
    y = forms["fused"]()
    gradient = torch.randn_like(y)
    found = {
        "forward floor": (x.nbytes + y.nbytes + y.numel()) / speed,
        "both floor": (3 * x.nbytes + 2 * y.nbytes + 2 * y.numel()) / speed,
    }
    for name, form in forms.items():
        found[f"{name} forward"] = milliseconds(torch.no_grad()(form))
        found[f"{name} both"] = milliseconds(lambda form=form: torch.autograd.grad(form(), (x, weight, bias), gradient))
    return found


def encoder(dtype: torch.dtype, speed: float, rate: float) -> dict[str, float]:
    """Time the encoder forward and backward at a batch of 128, with its lower bound.

    Of each layer operations or bytes, whichever takes longer, and the bytes of the fused blocks.
    """
    network = build_encoder("hadamax").to("cuda", memory_format=torch.channels_last)
    observations = torch.randint(256, (BATCH, 4, 84, 84), dtype=torch.uint8, device="cuda")
    gradient = torch.randn(BATCH, 512, device="cuda")

    def both() -> None:
        with torch.autocast("cuda", dtype, enabled=dtype == torch.bfloat16):
            features = network(observations)
        torch.autograd.grad(features, list(network.parameters()), gradient.to(features.dtype))

    # One multiplication each for the output, the weight gradient and, except in the first layer, the input gradient.
    layers = layers_of("hadamax")
    operations = [2 * BATCH * (2 if layer.first else 3) * layer.multiply_accumulates for layer in layers]
    size = torch.finfo(dtype).bits // 8
    maps = [BATCH * 2 * channels * side * side * size for channels, side, _ in BLOCKS]
    # A convolution writes its output and reads its gradient twice; the block reads the map twice and writes once.
    passes = [3 * written / speed for written in maps]
    products = sum(max(o / rate, p) for o, p in zip(operations, [*passes, 0.0], strict=True))
    return {"both": milliseconds(both), "expected": products + sum(passes)}


def algorithm(precision: str, threads: int) -> Any:
    given: TrainSettings[PQNSettings] = TrainSettings(
        run=RunSettings(device="cuda", precision=precision, threads=threads),  # type: ignore[arg-type]
        environment=EnvironmentSettings(env="Breakout"),
        network=NetworkSettings(encoder="hadamax"),
        algorithm=PQNSettings(),
    )
    resolved = resolve("pqn", given)
    built = make_algorithm("pqn", resolved, training_environment("pqn", resolved), Clock())
    built.reset()
    return built


def run(precision: str, threads: int, iterations: int, *, graphs: bool = True) -> dict[str, float]:
    """Extrapolate the minutes of 40M frames from some iterations, with the share of each part."""
    learner = algorithm(precision, threads)
    if not graphs:
        learner.use_graphs(None)
    learner.iteration()  # compiles and warms up
    torch.cuda.synchronize()
    learner.clock.seconds.clear()
    start = time.perf_counter()
    for _ in range(iterations):
        learner.iteration()
    torch.cuda.synchronize()
    whole = time.perf_counter() - start
    frames = iterations * learner.frames_per_iteration
    shares = {name: part / whole for name, part in learner.clock.seconds.items()}
    return {"frames": frames, "minutes for 40M frames": whole / frames * FRAMES / 60, **shares}


def whole_run(*settings: str) -> dict[str, float]:
    """Time `hadamax train pqn` on Breakout, including logs and checkpoints, with the share of each part."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "hadamax", "train", "pqn", "--env", "Breakout", *settings, "--out", str(out)]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        minutes = (time.perf_counter() - start) / 60
        rows = read_csv(out / "metrics.csv")
    ends = [0.0, *(float(row["seconds"]) for row in rows)]
    shares = {
        part: sum(float(row[part]) * (end - begin) for row, begin, end in zip(rows, ends, ends[1:], strict=False))
        / ends[-1]
        for part in ("environment", "inference", "learning")
    }
    return {"frames": float(rows[-1]["frame"]), "minutes": minutes, "minutes of training": ends[-1] / 60, **shares}


def several_at_once(*settings: str) -> list[str]:
    """Run `several.py` with one, two and four runs on the GPU."""
    script = Path(__file__).with_name("several.py")
    command = [sys.executable, str(script), "--device", "cuda", "--encoder", "hadamax", "--runs", "1", "2", "4"]
    command += settings
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--full", action="store_true", help="also train for 40M frames, and several runs at once")
    parser.add_argument("--json", help="also write the numbers to this file")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device here: nothing to measure")
    dtype = PRECISIONS[options.precision]
    speed, rate = limits(dtype)
    results: dict[str, Any] = {
        "machine": describe(options.threads),
        "settings": vars(options),
        "blocks": serving(build_encoder("hadamax"), dtype, "cuda"),
        "GB/s": speed / 1e6,
        "TFLOP/s": rate / 1e9,
    }
    for index in range(len(BLOCKS)):
        results[f"block {index + 1}, ms"] = block(index, dtype, speed)
    results["encoder, ms"] = encoder(dtype, speed, rate)
    results["PQN, every operation launched"] = run(options.precision, options.threads, options.iterations, graphs=False)
    results["PQN"] = run(options.precision, options.threads, options.iterations)
    if options.full:
        asked = ["--precision", options.precision, "--threads", str(options.threads)]
        train = ["--encoder", "hadamax", "--frames", str(FRAMES), "--device", "cuda"]
        results["hadamax train, 40M frames"] = whole_run(*train, *asked)
        results["several at once"] = several_at_once(*asked)
    text = json.dumps(results, indent=1)
    print(text)
    if options.json:
        with open(options.json, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
