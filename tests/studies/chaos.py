"""Run a study twice, once disturbed by kills and once not, and check that both end alike.

    python -m tests.studies.chaos                       # 2 variants x 3 MinAtar games x 3 seeds on this machine
    python -m tests.studies.chaos --engine ray          # the same on a cluster of three nodes, one removed

Workers are killed (SIGKILL) at intervals, and the sweep itself twice. Then every run must have exactly one end in the
ledger, no two processes may have worked on one run at a time, and weights, optimizer, games and all rows except the
wall clock's must equal those of the undisturbed study bit-for-bit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.runs.runs import outcome, same

from hadamax.runs.logs import read_csv
from hadamax.studies.study import read_study

STUDY = """
algorithm = "pqn"
games = {games}
seeds = {seeds}

[settings]
frames = {frames}
checkpoint_every = {checkpoint_every}
log_every = 512
diagnostics_every = 4096
num_envs = 8
num_test_envs = 2
num_steps = 16
num_minibatches = 2
features = 16
device = "cpu"
precision = "float32"

[variants]
tanh = {{ activation = "tanh" }}
tanh-hr = {{ activation = "tanh", branches = 2 }}
"""
GAMES = ["MinAtar/Breakout-v1", "MinAtar/Freeway-v1", "MinAtar/Asterix-v1"]


class Plan(NamedTuple):
    """The study and its disturbances."""

    engine: str = "local"
    games: int = 3
    seeds: int = 3
    frames: int = 100_000
    kills_a_run: float = 1.5  # of workers, in the time that an undisturbed run takes, and at most in all; 0: none
    sweep_kills: int = 2
    nodes_removed: int = 0
    nodes: int = 3  # of the cluster, each for one run at a time


class Report(NamedTuple):
    """Events of the disturbed study."""

    runs: int
    workers_killed: int
    sweeps_killed: int
    nodes_removed: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, each ended once and equal to the undisturbed bit for bit; killed -9: "
            f"{self.workers_killed} workers, {self.sweeps_killed} sweeps; {self.nodes_removed} nodes removed; "
            f"{self.seconds:.0f} s"
        )


def trial(folder: Path, plan: Plan, chance: random.Random) -> Report:
    """Run the study twice, in `folder/calm` and `folder/chaos`, and compare.

    Raises:
        AssertionError: they differ, or a run did not end exactly once.
    """
    study = folder / "study.toml"
    games, every = json.dumps(GAMES[: plan.games]), max(plan.frames // 8, 512)
    study.write_text(STUDY.format(games=games, seeds=plan.seeds, frames=plan.frames, checkpoint_every=every))
    runs, start = read_study(study).runs, time.monotonic()
    calm = subprocess.run(_sweep(study, folder / "calm", "--workers", "2"), capture_output=True, text=True, check=False)
    assert calm.returncode == 0, calm.stderr
    seconds_a_run = 2 * (time.monotonic() - start) / len(runs)
    with _place(plan) as (arguments, remove_a_node):
        most = round(plan.kills_a_run * len(runs))
        report = _disturbed(study, folder / "chaos", arguments, remove_a_node, plan, seconds_a_run, most, chance)
    _check_ledger(folder / "chaos" / "study" / "ledger.csv", [run.id for run in runs])
    for run in runs:
        calm_run, chaos_run = run.folder(folder / "calm"), run.folder(folder / "chaos")
        same(*(_results(run) for run in (calm_run, chaos_run)))
        assert (calm_run / "evaluation.json").read_bytes() == (chaos_run / "evaluation.json").read_bytes()
    return report._replace(runs=len(runs))


def _results(run: Path) -> dict[str, Any]:
    """Return an outcome without the checkpoint list, since an interruption adds one."""
    return {name: value for name, value in outcome(run).items() if name != "frames"}


def _sweep(study: Path, out: Path, *arguments: str) -> list[str]:
    common = ["--out", str(out), "--threads", "1", "--episodes", "3"]
    return [sys.executable, "-m", "hadamax", "sweep", str(study), *common, *arguments]


def _disturbed(
    study: Path,
    out: Path,
    arguments: list[str],
    remove_a_node: Callable[[], None],
    plan: Plan,
    seconds_a_run: float,
    most: int,
    chance: random.Random,
) -> Report:
    start = time.monotonic()
    said = open(out.with_suffix(".log"), "w+")  # noqa: SIM115
    sweep = subprocess.Popen(_sweep(study, out, *arguments), stderr=said)
    disturbances = ["sweep"] * plan.sweep_kills + ["node"] * plan.nodes_removed
    chance.shuffle(disturbances)
    times = (seconds_a_run * (i + 1) / 2 for i in range(len(disturbances)))
    due = {"worker": start + seconds_a_run / plan.kills_a_run if plan.kills_a_run else math.inf, "next": next(times, 0)}
    workers = 0
    left = list(disturbances)
    while sweep.poll() is None:
        time.sleep(0.05)
        now = time.monotonic()
        if left and now - start > due["next"] and any(_workers(out)):
            due["next"] = next(times, 0)
            if left.pop() == "node":
                remove_a_node()
            else:
                sweep.kill()
                sweep.wait()
                sweep = subprocess.Popen(_sweep(study, out, *arguments), stderr=said)
        elif workers < most and now > due["worker"] and (at_work := list(_workers(out))):
            due["worker"] = now + seconds_a_run / plan.kills_a_run * chance.uniform(0.5, 1.5)
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(at_work), signal.SIGKILL)
                workers += 1
    said.seek(0)
    assert sweep.returncode == 0, said.read()
    said.close()
    assert not left, f"the study was over before it was disturbed: {left}"
    return Report(0, workers, plan.sweep_kills, plan.nodes_removed, time.monotonic() - start)


def _workers(out: Path) -> Iterator[int]:
    """Return the processes that work on runs below a folder."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"hadamax.cli.study_worker" in words and os.fsencode(out / "study") in words:
            yield int(place.name)


def _check_ledger(ledger: Path, names: list[str]) -> None:
    rows = read_csv(ledger)
    ended = Counter(row["run"] for row in rows if row["event"] == "ended")
    assert ended == dict.fromkeys(names, 1), ended
    assert not [row for row in rows if row["event"] == "set aside"]
    for name in names:
        assert [row["event"] for row in rows if row["run"] == name][-1] == "ended"


@contextmanager
def _place(plan: Plan) -> Iterator[tuple[list[str], Callable[[], None]]]:
    """Provide the arguments of the disturbed study's engine and a way to remove nodes."""
    if plan.engine == "local":
        yield ["--workers", "2"], lambda: None
        return
    with cluster(plan.nodes) as (address, nodes, remove):
        yield ["--engine", "ray", "--ray-address", address], lambda: remove(nodes.pop())


@contextmanager
def cluster(nodes: int) -> Iterator[tuple[str, list[Any], Any]]:
    """Start Ray on this machine: a head without CPUs and nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    ray = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        added = [ray.add_node(num_cpus=1) for _ in range(nodes)]
        yield ray.address, added, lambda node: ray.remove_node(node, allow_graceful=False)
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--frames", type=int, default=Plan().frames)
    parser.add_argument("--seeds", type=int, default=Plan().seeds)
    parser.add_argument("--kills-a-run", type=float, default=Plan().kills_a_run)
    parser.add_argument("--seed", type=int, default=1, help="of the disturbances")
    given = parser.parse_args()
    plan = Plan(
        engine=given.engine,
        seeds=given.seeds,
        frames=given.frames,
        kills_a_run=given.kills_a_run,
        nodes_removed=int(given.engine == "ray"),
    )
    folder = Path(tempfile.mkdtemp(prefix="hadamax-chaos-"))  # kept on failure
    print(trial(folder, plan, random.Random(given.seed)))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
