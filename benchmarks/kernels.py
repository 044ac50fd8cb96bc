"""The fused block beside plain PyTorch; the Hadamax encoder beside its convolutions and matrix products.

    python benchmarks/kernels.py --precision bfloat16 --json kernels.json

What is compared runs in turns within one process, so a disturbance falls on all of it; ratios are of medians.
On a machine that others use too, `--threads 1 --clock cpu` counts only the time this process was given.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import hadamax_block, implementation, keep_memory
from hadamax.kernels.reference import reference_block
from hadamax.kernels.variant import Variant
from hadamax.networks import build_encoder

CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Input channels, merged output channels, kernel, map, pool: the three blocks of `hadamax` on 84 x 84.
BLOCKS = (
    (4, 64, 8, 84, (4, 4, 0, 0)),
    (32, 128, 4, 21, (2, 2, 0, 1)),
    (64, 128, 3, 11, (3, 1, 1, 1)),
)
DENSE = (7744, 512)

Times = dict[str, list[float]]


def in_turns(jobs: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> Times:
    """Milliseconds of each job, round after round; the first round is not counted."""
    times: Times = {name: [] for name in jobs}
    for round_ in range(rounds + 1):
        for name, job in jobs.items():
            start = clock()
            job()
            if round_:
                times[name].append((clock() - start) * 1e3)
    return times


def map_of(batch: int, channels: int, size: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(batch, channels, size, size, dtype=dtype).contiguous(memory_format=torch.channels_last)


def block_jobs(index: int, batch: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Forward, and forward + backward, of one block's elementwise part."""
    _, channels, _, size, pool = BLOCKS[index]
    variant = Variant(2, ("gelu_tanh", "gelu_tanh"), "product", "channels", 1e-6, pool)
    x = map_of(batch, channels, size, dtype).requires_grad_()
    weight, bias = torch.ones(channels, requires_grad=True), torch.zeros(channels, requires_grad=True)
    forms = {
        "fused": lambda: hadamax_block(x, weight, bias, **variant._asdict()),
        "plain": lambda: reference_block(x, weight, bias, variant),
    }
    gradient = torch.randn_like(forms["fused"]())
    jobs: dict[str, Callable[[], object]] = {}
    for name, form in forms.items():
        jobs[f"{name} forward"] = torch.no_grad()(form)
        jobs[f"{name} both"] = lambda form=form: torch.autograd.grad(form(), (x, weight, bias), gradient)
    return jobs


def product_jobs(batch: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """The convolutions and the matrix product alone; the first convolution has no input gradient."""
    layers = []
    for index, (inputs, outputs, kernel, size, _) in enumerate(BLOCKS):
        x = map_of(batch, inputs, size + kernel - 1, dtype).requires_grad_(index > 0)
        weight = map_of(outputs, inputs, kernel, dtype).requires_grad_()
        layers.append((F.conv2d, x, weight))
    flat = torch.randn(batch, DENSE[0], dtype=dtype, requires_grad=True)
    layers.append((F.linear, flat, torch.randn(DENSE[1], DENSE[0], dtype=dtype, requires_grad=True)))
    gradients = [torch.randn_like(layer(x, weight)) for layer, x, weight in layers]

    def forward() -> None:
        for layer, x, weight in layers:
            layer(x, weight)

    def both() -> None:
        for (layer, x, weight), gradient in zip(layers, gradients, strict=True):
            wanted = [leaf for leaf in (x, weight) if leaf.requires_grad]
            torch.autograd.grad(layer(x, weight), wanted, gradient)

    return {"products forward": torch.no_grad()(forward), "products both": both}


def encoder_jobs(batch: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    encoder = build_encoder("hadamax", observation_shape=(4, 84, 84), input_scale=255.0)
    encoder = encoder.to(memory_format=torch.channels_last)
    observations = torch.randint(256, (batch, 4, 84, 84), dtype=torch.uint8)
    gradient = torch.randn(batch, encoder.features)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return encoder(observations)

    def both() -> None:
        features = forward()
        torch.autograd.grad(features, list(encoder.parameters()), gradient.to(features.dtype))

    return {"encoder forward": torch.no_grad()(forward), "encoder both": both}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", help="also write the times there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_memory()
    dtype, clock = PRECISIONS[options.precision], CLOCKS[options.clock]

    form = {"branches": 2, "activations": ("gelu_tanh",) * 2, "combine": "product", "norm": "channels"}
    print("served by:", implementation(**form, pool=BLOCKS[0][-1], dtype=dtype, channels=32))
    results: dict[str, Times] = {}
    for index in range(len(BLOCKS)):
        jobs = block_jobs(index, options.batch, dtype)
        results[f"block {index + 1}"] = in_turns(jobs, options.rounds, clock)
    network = encoder_jobs(options.batch, dtype) | product_jobs(options.batch, dtype)
    results["network"] = in_turns(network, options.rounds, clock)

    print(
        f"{options.precision}, batch {options.batch}, {options.threads} threads, "
        f"ms of {options.clock} time: median (least)"
    )
    for name, times in results.items():
        print(f"  {name}")
        for job, values in times.items():
            print(f"    {job:<18}{statistics.median(values):9.2f} ({min(values):.2f})")
        ours, theirs = ("fused", "plain") if "fused both" in times else ("encoder", "products")
        for part in ("forward", "both"):
            ratio = statistics.median(times[f"{ours} {part}"]) / statistics.median(times[f"{theirs} {part}"])
            print(f"    {ours} / {theirs}, {part}: {ratio:.3f}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"settings": vars(options), "milliseconds": results}, file, indent=1)


if __name__ == "__main__":
    main()
