"""`hadamax bench`: measure encoder and training speed beside the roofline and other libraries."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from hadamax.benchmark.contender import WorkerError
from hadamax.benchmark.doctor import describe, serving
from hadamax.benchmark.report import DRAWN, content, draw, lines
from hadamax.benchmark.sections import KINDS, SECTIONS, BenchmarkPlan, Results
from hadamax.cli.console import parse, say
from hadamax.errors import UserError, unknown
from hadamax.files import write_atomically
from hadamax.runs.folder import Spaces
from hadamax.runs.machine import PRECISIONS, choose_precision, choose_threads
from hadamax.runs.settings import MOST_THREADS, NetworkSettings
from hadamax.runs.setup import AUTO_ENCODERS, make_encoder

ATARI = Spaces((4, 84, 84), 255.0, ("NOOP", "FIRE", "RIGHT", "LEFT"))


@dataclass(frozen=True)
class Arguments:
    """Measure on the CPU, as ratios within one run. Sections: blocks, network, memory, iteration, run.

    The output first lists which kernel computes each block of the measured networks, and of the network of the options
    below if there are any. --only blocks prints only this list.
    """

    quick: bool = False
    """Quick measurement, about five minutes on two cores: few rounds, one precision, no full run."""
    only: tuple[str, ...] = ()
    """Sections to measure. [default: all]"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """One precision; auto: float32, and bfloat16 where it is native."""
    threads: int = 0
    """Processor threads. [default 0: one a core]"""
    rounds: int | None = None
    """Rounds; each times everything once. [default 7, quick 2]"""
    json: str | None = None
    """Write all numbers to this file."""
    out: str | None = None
    """Draw a picture to this PNG file."""
    network: NetworkSettings = field(default_factory=NetworkSettings)


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax bench")
    if "--only" in arguments and not given.only:
        raise UserError(f"only: no section is named; expected {', '.join(SECTIONS)}")
    plan = _plan(given)
    _check_targets(given)
    machine = describe(plan.threads)
    served = _served(given, plan)
    results = Results()
    for name in given.only or _sections(given):
        try:
            SECTIONS[name](plan, results, say)
        except WorkerError as error:
            raise UserError(f"bench: section {name} cannot be measured: {error}") from None
    for line in lines(machine, served, results):
        print(line)
    _write(given, plan, content(machine, asdict(plan), served, results), results, machine)
    return 0


def _check_targets(given: Arguments) -> None:
    """Check that the output files can be written, before measuring."""
    for name, target in (("json", given.json), ("out", given.out)):
        if not target:
            continue
        path = Path(target)
        if not path.parent.is_dir():
            raise UserError(f"{name}: the folder of {target!r} does not exist")
        if path.is_dir():
            raise UserError(f"{name}: {target!r} is a folder; expected a file")
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise UserError(f"{name}: {target!r} cannot be written: {error.strerror}") from None
    if given.json and given.out and Path(given.json).resolve() == Path(given.out).resolve():
        raise UserError(f"out: {given.out!r} is also the file of the numbers; expected another file")
    if given.out and given.only and not set(given.only) & DRAWN:
        raise UserError(f"out: {', '.join(given.only)} cannot be drawn; expected {' or '.join(sorted(DRAWN))}")


def _served(given: Arguments, plan: BenchmarkPlan) -> dict[str, list[str]]:
    """Describe what computes each block of the measured networks and of the requested one, on a GPU too."""
    networks = {}
    for _, encoder, settings in KINDS:
        norm = settings.get("norm")
        networks[f"{encoder}, norm {norm}" if norm else encoder] = NetworkSettings(encoder=encoder, norm=norm)
    if given.network != NetworkSettings():
        encoder = AUTO_ENCODERS["atari"] if given.network.encoder == "auto" else given.network.encoder
        networks["as asked"] = replace(given.network, encoder=encoder)
    devices = {"cpu": "", "cuda": " on the GPU"} if torch.cuda.is_available() else {"cpu": ""}
    return {
        f"{name}, {precision}{where}": serving(make_encoder(settings, ATARI), PRECISIONS[precision], device)
        for name, settings in networks.items()
        for precision in plan.precisions
        for device, where in devices.items()
    }


def _plan(given: Arguments) -> BenchmarkPlan:
    for name in given.only:
        if name not in SECTIONS:
            raise unknown("only", name, SECTIONS)
    if not 0 <= given.threads <= MOST_THREADS:
        raise UserError(f"threads: {given.threads} is out of range; expected 0 to {MOST_THREADS}")
    if given.rounds is not None and given.rounds < 1:
        raise UserError(f"rounds: {given.rounds} is too small; expected 1 or more")
    native = choose_precision("auto", torch.device("cpu"))
    precisions = ("float32", native) if native != "float32" else ("float32",)
    if given.precision != "auto":
        precisions = (given.precision,)
    elif given.quick:
        precisions = precisions[-1:]
    rounds = given.rounds or (2 if given.quick else 7)
    repeats = 2 if given.quick else 3
    return BenchmarkPlan(choose_threads(given.threads), precisions, rounds, repeats, run_iterations=2)


def _sections(given: Arguments) -> list[str]:
    return [name for name in SECTIONS if name != "run" or not given.quick]


def _write(
    given: Arguments, plan: BenchmarkPlan, numbers: dict[str, object], results: Results, machine: dict[str, object]
) -> None:
    title = f"{machine['processor']}, {plan.threads} threads"
    picture = draw(results.times, title) if given.out else None
    try:
        if given.json:
            write_atomically(Path(given.json), (json.dumps(numbers, indent=1) + os.linesep).encode())
            print(f"numbers: {given.json}")
        if given.out and picture is not None:
            write_atomically(Path(given.out), picture)
            print(f"picture: {given.out}")
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
