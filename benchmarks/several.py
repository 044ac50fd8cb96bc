"""Several concurrent training runs on one machine that share its cores or a GPU: total training frames per second.

    python benchmarks/several.py                            # 1 run on all cores, 2 on half of them each, 4
    python benchmarks/several.py --device cuda --runs 1 2 3 4
    python benchmarks/several.py --encoder nature-norm --minutes 2

Every run is a `hadamax train pqn` on Atari in its own process, as in a sweep with `--workers`. Rates exclude the start
of the process; the runs begin together and stop after the same number of minutes. Each number of runs is measured
twice, in ascending and then in descending order.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from hadamax.runs.logs import read_csv
from hadamax.runs.machine import choose_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 2, 4], help="numbers of concurrent runs")
    parser.add_argument("--env", default="Breakout")
    parser.add_argument("--encoder", default="hadamax-fast")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="total threads of all runs; 0: one per core")
    parser.add_argument("--minutes", type=float, default=2.0)
    given = parser.parse_args()
    found: dict[int, list[float]] = {number: [] for number in given.runs}
    for number in [*given.runs, *reversed(given.runs)]:
        with tempfile.TemporaryDirectory() as folder:
            found[number].append(rate(number, Path(folder), given))
        print(f"{number} at once: {found[number][-1]:,.0f} frames/s", flush=True)
    alone = sum(found[given.runs[0]])
    for number, rates in found.items():
        threads = threads_of(number, given)
        spread = f"{min(rates):,.0f} to {max(rates):,.0f} frames/s in all"
        print(f"{number} with {threads} threads each: {spread}, {sum(rates) / alone:.2f} times {given.runs[0]}")


def threads_of(number: int, given: argparse.Namespace) -> int:
    return max(choose_threads(given.threads) // number, 1)


def rate(number: int, folder: Path, given: argparse.Namespace) -> float:
    """Measure the total frames per second of concurrent runs."""
    train = [sys.executable, "-m", "hadamax", "train", "pqn", "--env", given.env, "--encoder", given.encoder]
    train += ["--device", given.device, "--precision", given.precision, "--threads", str(threads_of(number, given))]
    train += ["--max-minutes", str(given.minutes)]
    train += ["--log-every", "1", "--diagnostics-every", "0"]
    outs = [folder / f"seed-{seed}" for seed in range(1, number + 1)]
    running = [
        subprocess.Popen(
            [*train, "--seed", str(seed), "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, out in enumerate(outs, start=1)
    ]
    said = [process.communicate()[1] for process in running]
    for process, lines in zip(running, said, strict=True):
        if process.returncode:
            sys.exit(f"a run failed:\n{lines}")
    total = 0.0
    for out in outs:
        last = read_csv(out / "metrics.csv")[-1]
        total += float(last["frame"]) / float(last["seconds"])
    return total


if __name__ == "__main__":
    main()
