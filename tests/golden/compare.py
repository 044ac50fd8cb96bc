"""Compare two source trees: each algorithm, trained briefly from one seed by both, must end in the same bits.

    git worktree add /tmp/before c688138
    python tests/golden/compare.py /tmp/before/src src

Run it after each change of structure. Exit code 0: every tensor of every checkpoint is identical.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

# A short run of each algorithm, with the options that change what it computes.
COMMON = "--seed 3 --threads 1 --device cpu --log-every 512 --diagnostics-every 0 --screen-size 44"
ON_POLICY = f"{COMMON} --num-envs 4 --num-steps 8 --num-minibatches 2 --frames 1024 --checkpoint-every 512"
REPLAY = (
    f"{COMMON} --num-envs 2 --replay-size 300 --batch-size 8 --learning-starts 64 --target-every 96 "
    "--iteration-steps 64 --frames 2048 --checkpoint-every 1024"
)
RUNS = {
    "pqn": f"train pqn --env Breakout --encoder hadamax --width 0.25 {ON_POLICY}",
    "pqn-nature": f"train pqn --env Breakout --encoder nature-norm {ON_POLICY} --redo-every 256",
    "pqn-float32": f"train pqn --env Breakout --encoder hadamax-light {ON_POLICY} --precision float32",
    "pqn-strongest": f"train pqn --env Breakout --preset strongest --width 0.25 {ON_POLICY} --mask-probability 0.5",
    "pqn-hr": f"train pqn --env Breakout --encoder nature-norm --activation tanh --branches 2 {ON_POLICY}",
    "pqn-minatar": "train pqn --env MinAtar/Breakout-v1 --encoder hadamax-minatar --seed 3 --threads 1 --device cpu "
    "--num-envs 8 --num-steps 8 --num-minibatches 2 --frames 1024 --diagnostics-every 0",
    "pqn-groups": f"train pqn --env Breakout --encoder nature-norm {ON_POLICY} --env-groups 2",
    "ppo": f"train ppo --env Breakout --encoder nature {ON_POLICY} --redo-every 256",
    "ppo-hadamax": f"train ppo --env Breakout --encoder hadamax --width 0.25 {ON_POLICY} --num-test-envs 2",
    "dqn": f"train dqn --env Breakout --encoder nature {REPLAY}",
    "dqn-cleanrl": f"train dqn --env Breakout --encoder nature --preset cleanrl --width 0.5 {REPLAY}",
    "c51": f"train c51 --env Breakout --encoder hadamax-c51 --width 0.25 {REPLAY}",
    "rainbow": f"train rainbow --env Breakout --encoder nature {REPLAY}",
    "rainbow-plain": f"train rainbow --env Breakout --encoder nature {REPLAY} --no-noisy --no-distributional "
    "--no-dueling --no-prioritised --n-step 1",
}


def train(source: Path, arguments: str, out: Path) -> dict[str, torch.Tensor]:
    """Run the command line of a source tree and return all tensors of its checkpoints by file and name."""
    environment = {**os.environ, "PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hadamax", *arguments.split(), "--out", str(out)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{source}: {' '.join(command)}\n{process.stderr}")
    files = sorted(out.glob("checkpoints/frame_*/*.safetensors"))
    return {f"{file.relative_to(out)}:{name}": x for file in files for name, x in load_file(file).items()}


def differences(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    """Return the names of the tensors that are missing on one side or differ in any bit."""
    names = sorted(before.keys() ^ after.keys())
    for name in before.keys() & after.keys():
        one, other = before[name], after[name]
        if one.dtype != other.dtype or one.shape != other.shape or not same_bits(one, other):
            names.append(name)
    return names


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.numpy(force=True).tobytes() == other.numpy(force=True).tobytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the src folder of the older tree")
    parser.add_argument("after", type=Path, help="the src folder of the newer tree")
    parser.add_argument("--only", nargs="*", default=list(RUNS), choices=list(RUNS), metavar="RUN")
    parser.add_argument("--cache", type=Path, help="folder that keeps the older tree's runs for the next comparison")
    given = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        cache = given.cache or Path(folder, "before")
        for name in given.only:
            kept = cache / f"{name}.pt"
            if kept.exists():
                before = torch.load(kept, weights_only=True)
            else:
                before = train(given.before, RUNS[name], Path(folder, "before", name))
                cache.mkdir(parents=True, exist_ok=True)
                torch.save(before, kept)
            found = differences(before, train(given.after, RUNS[name], Path(folder, "after", name)))
            failed = failed or bool(found)
            print(f"{name}: {len(before)} tensors, {'identical' if not found else f'{len(found)} differ: {found[:4]}'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
