"""Sections of `hadamax bench`; each adds times, ratios and notes to the results."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hadamax.algorithms.pqn import PQNSettings
from hadamax.benchmark.contender import Contender, Ratio, Spec, Times, WorkerError, in_turns, ratio, total
from hadamax.benchmark.forms import GAME

ENCODERS = ("hadamax", "nature-norm")
# Settings of CleanRL's PQN script for Atari, used with this library's learner.
CLEANRL: dict[str, Any] = {
    "num_envs": 8,
    "num_steps": 128,
    "num_epochs": 4,
    "num_minibatches": 4,
    "num_test_envs": 0,
    "epsilon_end": 0.01,
    "norm": "map",
}
# Learners whose iteration is measured: name, encoder, settings that differ from PQN's defaults.
KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("hadamax-PQN", "hadamax", {}),
    ("nature-norm-PQN", "nature-norm", {}),
    ("nature with CleanRL's settings", "nature", CLEANRL),
)
# Arguments of a full run besides its length, threads and precision.
RUN = ("--env", GAME, "--encoder", "hadamax")
FRAMES = 4 * 128 * 32  # per iteration
PEAKS = 4  # processes whose memory is measured, since fragmentation differs between processes


@dataclass(frozen=True)
class BenchmarkPlan:
    """Extent of the measurements."""

    threads: int
    precisions: tuple[str, ...]
    rounds: int
    repeats: int
    run_iterations: int

    @property
    def best(self) -> str:
        """The precision that training uses by default on this machine."""
        return self.precisions[-1]


@dataclass
class Results:
    """Times in seconds by series, ratios by name, and notes."""

    times: Times = field(default_factory=dict)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    forms: dict[str, Any] = field(default_factory=dict)


def network(plan: BenchmarkPlan, results: Results, say: Callable[[str], None]) -> None:
    """Measure forward, forward + backward and update of a batch of 128 for all contenders."""
    for encoder in ENCODERS:
        for precision in plan.precisions:
            say(f"{encoder}, {precision}: forward, forward + backward, update")
            _network(encoder, precision, plan, results)


def _network(encoder: str, precision: str, plan: BenchmarkPlan, results: Results) -> None:
    label = f"{encoder}, {precision}"
    specs = {form: Spec(form, encoder, precision, plan.threads) for form in ("ours", "products", "plain", "update")}
    if find_spec("jax") and find_spec("flax"):
        specs["jax"] = Spec("jax", encoder, "float32", plan.threads)
    elif "jax" not in results.forms:
        results.forms["jax"] = None
        results.notes.append("JAX is not installed: pip install 'hadamax-rl[flax]' to compare with it")
    with ExitStack() as stack:
        there = {form: stack.enter_context(Contender(spec)) for form, spec in specs.items()}
        results.forms[label] = {form: contender.about for form, contender in there.items()}
        jobs: dict[str, Callable[[], float]] = {}
        for job in ("forward", "both"):
            for form in ("ours", "products", "plain", "jax"):
                if form in there:
                    repeats = plan.repeats if form in ("ours", "products") else 1
                    jobs[f"{form} {job}"] = _timer(there[form], job, repeats)
        jobs["ours update"] = _timer(there["update"], "update", plan.repeats)
        jobs["plain update"] = _timer(there["plain"], "update", 1)
        times = in_turns(jobs, plan.rounds)
    results.times.update({f"{label}: {name}": values for name, values in times.items()})
    for job, words in (("forward", "forward"), ("both", "forward+backward")):
        ours = times[f"ours {job}"]
        results.ratios[f"{label}: {words} / products alone"] = ratio(ours, times[f"products {job}"])
        results.ratios[f"{label}: eager PyTorch / ours, {words}"] = ratio(times[f"plain {job}"], ours)
        if f"jax {job}" in times:
            results.ratios[f"{label}: JAX float32 / ours, {words}"] = ratio(times[f"jax {job}"], ours)
    updates = times["ours update"], times["plain update"]
    results.ratios[f"{label}: update / forward+backward"] = ratio(updates[0], times["ours both"])
    results.ratios[f"{label}: eager PyTorch / ours, update"] = ratio(updates[1], updates[0])


def _timer(contender: Contender, job: str, repeats: int) -> Callable[[], float]:
    return lambda: statistics.median(contender.seconds(job, repeats))


def memory(plan: BenchmarkPlan, results: Results, say: Callable[[str], None]) -> None:
    """Measure the memory growth of an update of 128 rows, ours and plain, in separate processes."""
    for precision in plan.precisions:
        say(f"hadamax, {precision}: memory of an update")
        peaks = {
            form: [_peak(Spec(form, "hadamax", precision, plan.threads, layout="channels_last")) for _ in range(PEAKS)]
            for form in ("update", "plain")
        }
        for form, values in peaks.items():
            name = {"update": "ours", "plain": "eager PyTorch"}[form]
            results.notes.append(f"memory of an update, hadamax, {precision}, {name}: {max(values):,.0f} MiB")
        results.ratios[f"hadamax, {precision}: memory of an update / eager PyTorch"] = ratio(
            peaks["update"], peaks["plain"]
        )


def _peak(spec: Spec) -> float:
    with Contender(spec) as contender:
        contender.seconds("warm")
        return contender.peak_mib("update")


def iteration(plan: BenchmarkPlan, results: Results, say: Callable[[str], None]) -> None:
    """Measure a PQN iteration, and separately its convolutions, matrix multiplications and emulators."""
    for name, encoder, settings in KINDS:
        say(f"{name}: an iteration, {plan.best}")
        _iteration(name, encoder, settings, plan, results)


def _iteration(name: str, encoder: str, settings: dict[str, Any], plan: BenchmarkPlan, results: Results) -> None:
    pqn = PQNSettings(**{key: value for key, value in settings.items() if key != "norm"})
    rows = pqn.num_envs * pqn.num_steps // pqn.num_minibatches
    games = pqn.num_envs + pqn.num_test_envs
    with ExitStack() as stack:
        there = {
            form: stack.enter_context(
                Contender(Spec(form, encoder, plan.best, plan.threads, rows, games, pqn=settings))
            )
            for form in ("learner", "products", "environments")
        }
        acted, updates = pqn.num_steps + 1, pqn.num_epochs * pqn.num_minibatches
        times = in_turns(
            {
                "iteration": _whole(there["learner"], "iteration", 1),
                "acting products": _whole(there["products"], "acting", acted),
                "learning products": _whole(there["products"], "both", updates),
                "emulators": _whole(there["environments"], "step", pqn.num_steps),
            },
            plan.rounds,
        )
    results.times.update({f"{name}: {part}": values for part, values in times.items()})
    alone = total(*(values for part, values in times.items() if part != "iteration"))
    results.ratios[f"{name} iteration / sum of its parts alone"] = ratio(times["iteration"], alone)
    frames = 4 * pqn.num_envs * pqn.num_steps / statistics.median(times["iteration"])
    results.notes.append(f"{name}: {frames:,.0f} training frames/s in an iteration")


def _whole(contender: Contender, job: str, times: int) -> Callable[[], float]:
    """Time a job as often as an iteration does it, so that both include the machine's slow moments."""
    return lambda: sum(contender.seconds(job, times))


def run(plan: BenchmarkPlan, results: Results, say: Callable[[str], None]) -> None:
    """Measure a short `hadamax train` from start to end."""
    frames = plan.run_iterations * FRAMES
    say(f"hadamax train pqn, {frames:,} frames")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "hadamax", "train", "pqn", *RUN, "--frames", str(frames)]
        command += ["--threads", str(plan.threads), "--device", "cpu", "--out", str(out)]
        start = time.perf_counter()
        done = subprocess.run([*command, "--precision", plan.best], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode} without output"]
            raise WorkerError(f"hadamax train: {said[-1]}")
        (line,) = (line for line in done.stdout.splitlines() if " frames in " in line)
    results.times["full run: whole command"] = [seconds]
    results.notes.append(f"full run: {line}; {seconds:.1f} s including start and end")


SECTIONS: dict[str, Callable[[BenchmarkPlan, Results, Callable[[str], None]], None]] = {
    "blocks": lambda plan, results, say: None,  # always reported
    "network": network,
    "memory": memory,
    "iteration": iteration,
    "run": run,
}
