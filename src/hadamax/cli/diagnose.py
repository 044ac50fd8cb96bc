"""`hadamax diagnose RUN`: measure a representation: a table, signs of trouble, pictures."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hadamax.agents.run_agent import load_run
from hadamax.cli.console import parse, say
from hadamax.diagnostics import Health, Sample, measure, observe
from hadamax.diagnostics.health import shares
from hadamax.diagnostics.observations import evaluating
from hadamax.diagnostics.pictures import draw_dead, draw_densities, draw_ranks, draw_spectra
from hadamax.diagnostics.selection import select
from hadamax.diagnostics.signs import signs
from hadamax.environments.play import Policy, play_observations
from hadamax.errors import UserError, one_line
from hadamax.files import write_atomically
from hadamax.runs import checkpoints
from hadamax.runs.folder import RunFolder, refuse_unwritable
from hadamax.runs.logs import read_csv
from hadamax.runs.settings import MOST_THREADS, NetworkSettings


@dataclass(frozen=True)
class Arguments:
    """Measure the layers of a run's network, of a checkpoint, or of a network of your own."""

    run: Annotated[str | None, tyro.conf.Positional] = None
    """Folder of a run, or of a checkpoint in it."""
    checkpoint: str = "latest"
    """latest, best, or a frame."""
    module: str | None = None
    """A network of your own: package.module:factory; the factory is called and returns an nn.Module."""
    observations: str | None = None
    """File of observations: .npy, or .safetensors with one tensor. [default: played by the run's agent]"""
    layers: tuple[str, ...] = ()
    """Layers by name or pattern, such as encoder.*. [default: all hidden layers]"""
    count: int = 2048
    """Number of observations that the agent plays."""
    epsilon: float = 0.05
    """Probability of a random action while it plays; greedy games are almost identical."""
    out: str | None = None
    """Folder for the pictures. [default: RUN/diagnosis; for a module: diagnosis]"""
    seed: int = 4_000_000
    """Seed of the games and of the measurement's subsampling."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto."""
    threads: int = 0
    """Processor threads. [default 0: as the run had; for a module: one a core]"""

    def __post_init__(self) -> None:
        if (self.run is None) == (self.module is None):
            raise UserError("run: expected either the folder of a run or --module package.module:factory")
        if self.module is not None and self.observations is None:
            raise UserError("observations: missing; a module needs --observations FILE.npy or FILE.safetensors")
        if self.count < 2:
            raise UserError(f"count: {self.count} is too small; expected 2 or more")
        if not 0 <= self.epsilon <= 1:
            raise UserError(f"epsilon: {self.epsilon} is out of range; expected 0 to 1")
        for name, most in (("seed", 2**63 - 1), ("threads", MOST_THREADS)):
            if not 0 <= getattr(self, name) <= most:
                raise UserError(f"{name}: {getattr(self, name)} is out of range; expected 0 to {most}")


WORDS = ("observations", "layer", "part")  # text columns of diagnostics.csv


class DiagnosisTarget(NamedTuple):
    """A network and the observations to measure it on."""

    title: str
    network: nn.Module
    forward: Callable[[Tensor], Any] | None
    observations: Tensor
    out: Path
    history: list[dict[str, str]]  # rows of diagnostics.csv


def of_run(given: Arguments) -> DiagnosisTarget:
    """Return the network of a checkpoint, and observations played by its agent or read from a file."""
    path, checkpoint = Path(given.run or ""), given.checkpoint
    if path.parent.name == "checkpoints" and re.fullmatch(r"frame_[0-9]{12,19}", path.name):
        path, checkpoint = path.parent.parent, str(checkpoints.frame_of(path))
    folder, _, settings = RunFolder.open(path)
    agent = load_run(path, checkpoint, device=given.device, say=say)
    torch.set_num_threads(given.threads or settings.run.threads)
    out = Path(given.out) if given.out else path / "diagnosis"
    _layers(agent.network, given)  # checked before games are played
    refuse_unwritable(out, out)
    history = _history(folder, agent.frame)
    if given.observations is not None:
        observations = read_observations(Path(given.observations))
    else:
        say(f"playing {given.count:,} observations")
        generator = torch.Generator().manual_seed(given.seed)
        policy: Policy = lambda seen: agent.act(seen, given.epsilon, generator)  # noqa: E731
        environment = settings.environment.starting_with(settings.environment.games[-1])  # of a sequence, the last game
        played = play_observations(
            policy, environment, given.count, seed=given.seed, threads=given.threads or settings.run.threads
        )
        observations = torch.from_numpy(played)
    title = f"{settings.environment.env}, {_described(settings.network)}, agent of frame {agent.frame:,}"
    return DiagnosisTarget(title, agent.network, agent.q_values, observations, out, history)


def _history(folder: RunFolder, last: int) -> list[dict[str, str]]:
    """Return the rows of diagnostics.csv up to a frame, after checking their numbers."""
    rows = read_csv(folder.diagnostics)
    if rows and not {"frame", "observations", "layer", "part"} <= set(rows[0]):
        raise UserError(f"run: {folder.diagnostics} is damaged: its header has no frame and layer")
    if not rows:
        say(
            f"{folder.diagnostics} has no measurements, so no curves are drawn "
            "(--diagnostics-every 0, or too short a run)"
        )
    for line, row in enumerate(rows, start=2):
        for name, value in row.items():
            try:
                if name == "frame":
                    int(value)
                elif name not in WORDS:
                    float(value or 0)  # a cell may be empty
            except (ValueError, TypeError):
                raise UserError(
                    f"run: {folder.diagnostics}, line {line}: {name} is no number: {value!r}; mend or delete that line"
                ) from None
    return [row for row in rows if int(row["frame"]) <= last]


def _described(network: NetworkSettings) -> str:
    """Describe the encoder and its changed settings: `nature (activation tanh, branches 2, layers last)`."""
    usual = NetworkSettings(network.encoder)
    changed = {f.name: getattr(network, f.name) for f in fields(network)}
    words = [
        f"{name.replace('_', ' ')} {'/'.join(value) if isinstance(value, tuple) else value}"
        for name, value in changed.items()
        if value != getattr(usual, name)
    ]
    return f"{network.encoder} ({', '.join(words)})" if words else network.encoder


def _layers(network: nn.Module, given: Arguments) -> None:
    try:
        select(network, given.layers or None)
    except ValueError as error:
        raise UserError(sentence(error)) from None


def of_module(given: Arguments) -> DiagnosisTarget:
    """Return a network of the user's own and the observations of a file."""
    name = given.module or ""
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise UserError(f"module: {name!r} is not of the form package.module:factory")
    if os.getcwd() not in sys.path:  # a console script does not add the working directory
        sys.path.insert(0, os.getcwd())
    try:
        network = getattr(importlib.import_module(module), factory)()
    except (Exception, SystemExit) as error:  # the user's own code
        raise UserError(f"module: {name} raised an error: {one_line(error)}") from None
    if not isinstance(network, nn.Module):
        raise UserError(f"module: {name} returned {type(network).__name__}; expected an nn.Module")
    if given.threads:
        torch.set_num_threads(given.threads)
    from hadamax.runs.machine import choose_device

    device = choose_device(given.device)
    network = network.to(device)
    observations, out = read_observations(Path(given.observations or "")), Path(given.out or "diagnosis")
    refuse_unwritable(out, out)

    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    floats = observations.is_floating_point()
    if not floats and _wants_floats(network, observations[:2].to(device), dtype):
        say(f"observations: {name} does not accept {observations.dtype}; converted to {dtype}")
        floats = True

    def forward(batch: Tensor) -> Any:
        batch = batch.to(device, dtype) if floats else batch.to(device)
        try:
            return network(batch)
        except Exception as error:
            shape = [*batch.shape]
            raise UserError(f"observations: {shape} {batch.dtype} do not fit {name}: {one_line(error)}") from None

    return DiagnosisTarget(name, network, forward, observations, out, [])


@torch.no_grad()
def _wants_floats(network: nn.Module, observations: Tensor, dtype: torch.dtype) -> bool:
    """Return True if the network accepts integers or booleans only as floating point."""

    def takes(batch: Tensor) -> bool:
        try:
            network(batch)
        except Exception:  # the user's own code
            return False
        return True

    with evaluating(network), torch.random.fork_rng([]):
        return not takes(observations) and takes(observations.to(dtype))


def sentence(error: Exception) -> str:
    """Return an error's message in one line."""
    return " ".join(str(error).split())


def read_observations(path: Path) -> Tensor:
    """Read observations [N, ...].

    Raises:
        UserError: the file is of another kind, cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".npy":
            read = np.load(path, allow_pickle=False)
            if not isinstance(read, np.ndarray):
                raise UserError(f"observations: {path} is an archive of arrays; expected one array")
            observations = torch.from_numpy(read.astype(read.dtype.newbyteorder("="), copy=False))
        elif path.suffix == ".safetensors":
            tensors = load_file(path)
            if len(tensors) != 1 and "observations" not in tensors:
                raise UserError(f"observations: {path} holds {len(tensors)} tensors and none is named observations")
            observations = tensors.get("observations", next(iter(tensors.values())))
        else:
            raise UserError(f"observations: {str(path)!r} has an unknown suffix; expected .npy, .safetensors")
    except OSError as error:
        raise UserError(f"observations: {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, SafetensorError, EOFError) as error:
        raise UserError(f"observations: {path} cannot be read: {one_line(error)}") from None
    if observations.ndim < 2:
        raise UserError(f"observations: {path} holds {[*observations.shape]}; expected [observations, ...]")
    return observations


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax diagnose")
    target = of_run(given) if given.run is not None else of_module(given)
    try:
        samples = observe(
            target.network, target.observations, given.layers or None, forward=target.forward, seed=given.seed
        )
        health = measure(samples, given.seed)
        parts = shares(target.network, samples, target.observations, forward=target.forward, seed=given.seed)
    except (ValueError, TypeError) as error:
        raise UserError(sentence(error)) from None
    print(f"{target.title}; {len(target.observations):,} observations")
    Console(width=130).print(_table(health))
    widest = max((h for h in health if h.map_rank is None), key=lambda h: h.units, default=None)
    if widest is not None and len(target.observations) < widest.units:
        print(
            f"{len(target.observations):,} observations are few for the {widest.units:,} units of {widest.layer}: "
            "no rank can pass their number, and what is dead on them may be alive on others"
        )
    if parts is not None:
        print(
            f"average output: {parts[0]:.4g} from live units and {parts[1]:.4g} from dead ones of the last hidden layer"
        )
    found = signs(health, parts)
    print("\n".join(["what is wrong:", *(f"  - {sentence}" for sentence in found)] if found else [ALL_WELL]))
    for path in _draw(target, samples, given.seed):
        print(f"picture: {path}")
    return 0


ALL_WELL = (
    "no sign of trouble: no layer has a collapsed rank, most activations saturated, or more than 15% dead units "
    "(by density where activations are bounded, zero on every sample elsewhere)"
)


def _table(health: list[Health]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    fractions = ("dead, KDE", "dead, plain", "dormant", "saturated")
    for column in ("units", *fractions, "effective rank", "stable rank", "norm"):
        table.add_column(column, justify="right")
    layers = list(dict.fromkeys(h.layer for h in health))
    for h in sorted(health, key=lambda h: (layers.index(h.layer), h.part != "output")):
        rank = "-" if h.effective_rank is None else f"{h.effective_rank} of {min(h.units, h.samples)}"
        if h.map_rank is not None:
            rank = f"{rank}, map {h.map_rank} of {h.map_samples}"
        plain = h.dead_zero if h.dead_saturated is None else h.dead_saturated
        table.add_row(
            h.layer if h.part == "output" else f"  {h.part}",
            str(h.units),
            *map(_percent, (h.dead_kde, plain, h.dormant, h.saturated)),
            rank,
            "-" if h.stable_rank is None else f"{h.stable_rank:.1f}",
            f"{h.feature_norm:.3g}",
        )
    return table


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _draw(target: DiagnosisTarget, samples: list[Sample], seed: int) -> list[Path]:
    pictures = {}
    if any(min(sample.activations.shape) > 1 and sample.activations.any() for sample in samples):
        pictures["spectra.png"] = draw_spectra(samples, target.title)
    for sample in samples:
        name = re.sub(r"[^\w.]+", "-", sample.name).strip("-")
        pictures[f"density-{name}.png"] = draw_densities(sample, target.title, seed)
    if target.history:
        title, rows = target.title, target.history
        pictures["rank.png"] = draw_ranks(rows, title)
        # The criteria of dead units that apply to each layer: see `dead_fraction`.
        bounded = [row for row in rows if row.get("saturated")]
        others = [row for row in rows if not row.get("saturated")]
        for name, label, of in (
            ("dead_kde", "dead units by density, %", bounded),
            ("dead_saturated", "units at one end on every sample, %", bounded),
            ("dead_zero", "units zero on every sample, %", others),
        ):
            if any(row.get(name) for row in of):
                pictures[f"{name.replace('_', '-')}.png"] = draw_dead(of, name, label, title)
    try:
        target.out.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            write_atomically(target.out / name, picture)
    except OSError as error:
        raise UserError(f"out: {target.out} cannot be written: {error.strerror}") from None
    return [target.out / name for name in pictures]
