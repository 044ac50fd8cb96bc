"""Overhead of `hadamax sweep` compared with the same commands under `xargs`, with equal concurrency and threads.

    python benchmarks/sweep.py                   # two rounds of each, in the order xargs, sweep, sweep, xargs
    python benchmarks/sweep.py --frames 50000    # shorter runs

Start and end of the sweep are included in its time; printing the commands is not included in that of xargs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
algorithm = "pqn"
games = ["MinAtar/Breakout-v1", "MinAtar/Freeway-v1", "MinAtar/Asterix-v1"]
seeds = 2

[settings]
frames = {frames}
encoder = "minatar"

[variants]
tanh = {{ activation = "tanh" }}
"""
HADAMAX = [sys.executable, "-m", "hadamax"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000, help="frames of each of the six runs")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {"xargs": [], "sweep": []}
    for i, name in enumerate(("xargs", "sweep", "sweep", "xargs")):
        with tempfile.TemporaryDirectory() as folder:
            seconds[name].append(run(name, Path(folder), given.frames, given.workers))
        print(f"{i + 1} of 4: {name} {seconds[name][-1]:.1f} s", flush=True)
    xargs, sweep = (sum(seconds[name]) for name in ("xargs", "sweep"))
    print(f"xargs -P {given.workers}: {xargs:.1f} s, sweep: {sweep:.1f} s, overhead {sweep / xargs - 1:+.1%}")


def run(name: str, folder: Path, frames: int, workers: int) -> float:
    """Time the study's six runs, including their evaluations."""
    study = folder / "study.toml"
    study.write_text(STUDY.format(frames=frames))
    sweep = [*HADAMAX, "sweep", str(study), "--out", str(folder), "--threads", "1", "--workers", str(workers)]
    printed = subprocess.run([*sweep, "--print-commands"], check=True, capture_output=True, text=True).stdout
    commands = printed.replace("hadamax train", " ".join([*HADAMAX, "train"]))
    start = time.perf_counter()
    if name == "sweep":
        subprocess.run(sweep, check=True, capture_output=True)
    else:
        xargs = ["xargs", "-P", str(workers), "-d", "\n", "-I{}", "sh", "-c", "{}"]
        subprocess.run(xargs, input=commands, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    done = list(folder.glob("study/*/*/*/evaluation.json"))
    assert len(done) == 6, done
    return seconds


if __name__ == "__main__":
    main()
