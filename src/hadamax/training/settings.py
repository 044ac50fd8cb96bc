"""All settings of a run, and their way from the command line or a TOML file into `config.toml` and back."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import tomli_w

from hadamax.algorithms import ALGORITHMS
from hadamax.environments import EnvironmentSettings
from hadamax.errors import UserError, unknown

S = TypeVar("S")

FORMAT = 1  # of a run folder; raised when an older hadamax could not read a newer run
ABOUT = ("protocol", "spaces", "versions")  # tables of config.toml that inform and set nothing


@dataclass(frozen=True)
class RunSettings:
    """Length, seed, machine and what is kept."""

    frames: int = 40_000_000
    """Emulator frames to train for, frame skip included. HR section 5."""
    decay_frames: int | None = None
    """Frames over which learning rate and exploration decay. [default: --frames]"""
    seed: int = 1
    """Seed of the weights, the games and the exploration."""
    out: str = ""
    """Folder of the run. [default: runs/ENV-ENCODER-ALGORITHM-SEED]"""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: a GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; auto is bfloat16 where the processor or card computes it natively."""
    threads: int = 0
    """Processor threads for arithmetic and for the emulators. [default 0: one a core]"""
    max_minutes: float | None = None
    """Stop after this many minutes of training, whatever the frames. [default: no limit]"""
    log_every: int = 10_000
    """Frames between rows of metrics.csv, at least one iteration."""
    checkpoint_every: int = 500_000
    """Frames between checkpoints."""
    keep_checkpoints: int = 3
    """How many of the last checkpoints are kept; the best one is kept besides."""
    keep_checkpoints_at: tuple[int, ...] = ()
    """Frames whose checkpoints are kept for good."""

    def __post_init__(self) -> None:
        least = {"frames": 1, "seed": 0, "threads": 0, "log_every": 1, "checkpoint_every": 1, "keep_checkpoints": 1}
        for name, low in {**least, "decay_frames": 1}.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UserError(f"{name}: {value} is too small; valid: {low} or more")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise UserError(f"max_minutes: {self.max_minutes} is too small; valid: more than 0")
        for frame in self.keep_checkpoints_at:
            if not 0 < frame <= self.frames:
                raise UserError(f"keep_checkpoints_at: {frame} is not within the run's {self.frames} frames")


@dataclass(frozen=True)
class NetworkSettings:
    """The encoder, and what of it to vary. A setting left out keeps the encoder's own."""

    encoder: str = "auto"
    """Encoder by name; auto: hadamax on Atari, minatar on MinAtar, mlp on vectors."""
    activation: tuple[str, ...] = ()
    """Activation of the hidden layers; several names are one for each branch. HR section 4."""
    branches: int | None = None
    """Parallel branches that are combined: 1 is the ordinary layer, 2 is HR, 3 is 2HR. HR section 4."""
    combine: Literal["product", "sum"] | None = None
    """How branches are combined. HR section 5."""
    norm: Literal["channels", "map", "none"] | None = None
    """Layer norm before the activation: over the channels of each pixel, or over the whole map."""
    layers: Literal["all", "last"] = "all"
    """Which hidden layers the settings above change. HR: all for PQN, last for DQN and PPO (appendix D.1)."""
    width: float = 1.0
    """Multiplies every layer's width."""
    features: int | None = None
    """Width of the last hidden layer. HR Table 4: 512."""


@dataclass(frozen=True)
class TrainSettings(Generic[S]):
    """Everything that a run depends on. Field names are unique across the groups."""

    run: RunSettings
    environment: EnvironmentSettings
    network: NetworkSettings
    algorithm: S

    def groups(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def settings_type(algorithm: str) -> Any:
    """`TrainSettings` of an algorithm, the type that the command line is read into."""
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    return TrainSettings[ALGORITHMS[algorithm].settings]  # type: ignore[misc]


def setting_names(algorithm: str) -> list[str]:
    groups = (RunSettings, EnvironmentSettings, NetworkSettings, ALGORITHMS[algorithm].settings)
    return [f.name for group in groups for f in fields(group)]


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's content.

    Raises:
        UserError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a TOML file: {error}") from None


def toml_arguments(content: dict[str, Any], algorithm: str, path: Path) -> list[str]:
    """The settings of a TOML file as command-line arguments, so that both are read and checked by one parser.

    Tables group settings for the reader only; a name means the same wherever it stands.

    Raises:
        UserError: a setting that the algorithm does not have.
    """
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat.update(value if name not in ABOUT else {})
        elif name not in ("format", "algorithm"):
            flat[name] = value
    known = setting_names(algorithm)
    arguments = []
    for name, value in flat.items():
        if name not in known:
            raise UserError(f"{path}: {unknown('setting', name, known)}")
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            arguments += [f"--{flag}", *map(str, value)]
        else:
            arguments.append(f"--{flag}={value}")
    return arguments


def to_toml(algorithm: str, settings: TrainSettings[Any], about: dict[str, dict[str, Any]]) -> str:
    """The text of `config.toml`: every setting that has a value, and what the run was made with."""
    tables = {}
    for name, group in settings.groups().items():
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(group).items() if v not in (None, ())}
        tables[algorithm if name == "algorithm" else name] = values
    return tomli_w.dumps({"format": FORMAT, "algorithm": algorithm, **tables, **about})


def from_toml(content: dict[str, Any], path: Path) -> tuple[str, TrainSettings[Any]]:
    """The algorithm and the settings of a run's `config.toml`.

    Raises:
        UserError: written by a newer hadamax, or with settings this one does not have.
    """
    written = content.get("format")
    if not isinstance(written, int) or written > FORMAT:
        raise UserError(f"{path}: format {written!r} is not one this hadamax reads; valid: up to {FORMAT}")
    algorithm = content.get("algorithm", "")
    if algorithm not in ALGORITHMS:
        raise UserError(f"{path}: {unknown('algorithm', algorithm, ALGORITHMS)}")
    groups = []
    classes = (RunSettings, EnvironmentSettings, NetworkSettings, ALGORITHMS[algorithm].settings)
    for name, cls in zip((f.name for f in fields(TrainSettings)), classes, strict=True):
        table = content.get(algorithm if name == "algorithm" else name, {})
        known = {f.name for f in fields(cls)}
        for key in table:
            if key not in known:
                raise UserError(f"{path}: {unknown('setting', key, known)}")
        groups.append(cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}))
    return algorithm, TrainSettings(*groups)
