"""All settings of a run, read from the command line or TOML, and written to `config.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import tomli_w

from hadamax.algorithms import ALGORITHMS
from hadamax.environments import EnvironmentSettings
from hadamax.errors import UserError, unknown

S = TypeVar("S")

FORMAT = 1  # of a run folder; increased when an older hadamax cannot read a newer run
MOST_THREADS = 1024  # far more crash the process
REMOVED = ("overlap",)  # settings of older runs that are ignored on reading
ABOUT = ("protocol", "spaces", "versions")  # informative tables of config.toml


@dataclass(frozen=True)
class RunSettings:
    """Length, seed, machine, logs and checkpoints."""

    frames: int = 40_000_000
    """Emulator frames to train for, frame skip included, rounded down to whole iterations. HR section 5."""
    decay_frames: int | None = None
    """Frames over which learning rate and exploration decay. [default: --frames, or the frames of one game of a
    sequence if schedules restart]"""
    cycles: int = 1
    """Times that a sequence of games is played: each game gets --frames / (cycles * games) at a time."""
    restart_schedules: bool = True
    """Restart the schedules of learning rate and exploration with each game of a sequence."""
    seed: int = 1
    """Seed of weights, games and exploration."""
    out: str = ""
    """Folder of the run. [default: runs/ENV-ENCODER-ALGORITHM-SEED]"""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto (a GPU if available)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the network; auto is bfloat16 if the CPU or GPU computes it natively."""
    threads: int = 0
    """CPU threads for arithmetic and for emulators; 0: one per core."""
    max_minutes: float | None = None
    """Stop after this many minutes of training. [default: no limit]"""
    log_every: int = 10_000
    """Frames between rows of metrics.csv, at least one iteration."""
    checkpoint_every: int = 500_000
    """Frames between checkpoints."""
    diagnostics_every: int = 1_000_000
    """Frames between measurements of every layer (diagnostics.csv); 0: none."""
    keep_checkpoints: int = 3
    """Number of latest checkpoints to keep; the best one is kept too."""
    keep_checkpoints_at: tuple[int, ...] = ()
    """Frames whose checkpoints are always kept."""
    wandb: bool = False
    """Log to Weights & Biases too, offline without a key or network; needs the extra wandb."""

    def __post_init__(self) -> None:
        least = {
            "frames": 1,
            "cycles": 1,
            "seed": 0,
            "threads": 0,
            "log_every": 1,
            "checkpoint_every": 1,
            "diagnostics_every": 0,
            "keep_checkpoints": 1,
        }
        for name, low in {**least, "decay_frames": 1}.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UserError(f"{name}: {value} is too small; expected {low} or more")
        for name, high in {"seed": 2**63 - 1, "threads": MOST_THREADS}.items():
            if getattr(self, name) > high:
                raise UserError(f"{name}: {getattr(self, name)} is too large; expected up to {high}")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise UserError(f"max_minutes: {self.max_minutes} is too small; expected more than 0")
        for frame in self.keep_checkpoints_at:
            if not 0 < frame <= self.frames:
                raise UserError(f"keep_checkpoints_at: {frame} is not within the run's {self.frames} frames")


@dataclass(frozen=True)
class NetworkSettings:
    """The encoder and its variations. An omitted setting keeps the encoder's own value."""

    encoder: str = "auto"
    """auto (hadamax on Atari, minatar on MinAtar, mlp on vectors), or one of nature, nature-norm, hadamax, hadamax-c51,
    hadamax-fast, hadamax-light, hadamax-deep, impala, minatar, hadamax-minatar, hadamax-minatar-no-pool,
    hadamax-minatar-average-pool, hadamax-no-gelu, hadamax-no-product, hadamax-no-pool, hadamax-average-pool, hadamax-5,
    hadamax-7, mlp."""
    activation: tuple[str, ...] = ()
    """Activation of the hidden layers; several names give one per branch: tanh, sigmoid, relu, gelu, gelu_tanh,
    silu, selu, crelu, rational, identity. HR section 4."""
    branches: int | None = None
    """Parallel branches: 1 is the ordinary layer, 2 is HR, 3 is 2HR. HR section 4."""
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
    match_parameters: int | None = None
    """Choose --width so that encoder and one linear layer of action values have about this many parameters."""


@dataclass(frozen=True)
class TrainSettings(Generic[S]):
    """Everything that a run depends on. Field names are unique across the groups."""

    run: RunSettings
    environment: EnvironmentSettings
    network: NetworkSettings
    algorithm: S

    @property
    def visits(self) -> int:
        """Games that a run plays one after another; 1 without a sequence."""
        return self.run.cycles * len(self.environment.games) if len(self.environment.games) > 1 else 1

    @property
    def visit_frames(self) -> int:
        """Frames of each game of a sequence."""
        return self.run.frames // self.visits

    @property
    def restart_frames(self) -> int | None:
        """Frames between restarts of the schedules; None if they never restart."""
        return self.visit_frames if self.visits > 1 and self.run.restart_schedules else None

    @property
    def decay_frames(self) -> int:
        """Frames over which the schedules decay, with its default filled in."""
        return self.run.decay_frames or self.restart_frames or self.run.frames

    def groups(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def settings_type(algorithm: str) -> Any:
    """Return the `TrainSettings` type of an algorithm, which the command line is parsed into."""
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    return TrainSettings[ALGORITHMS[algorithm].settings]  # type: ignore[misc]


@cache
def setting_types(algorithm: str) -> dict[str, dict[str, Any]]:
    """Return the types of all settings by group and name."""
    own = ALGORITHMS[algorithm].settings
    groups = {
        "run": RunSettings,
        "environment": EnvironmentSettings,
        "network": NetworkSettings,
        "algorithm": own,
    }
    return {name: get_type_hints(group) for name, group in groups.items()}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UserError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not a TOML file: {error}") from None


def toml_arguments(content: dict[str, Any], algorithm: str, path: Path) -> list[str]:
    """Convert the settings of a TOML file to command-line arguments, so that one parser checks both.

    Tables group settings for the reader only; a name means the same wherever it stands.

    Raises:
        UserError: a setting that the algorithm does not have.
    """
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat.update(value if name not in ABOUT else {})
        elif name == "algorithm" and value != algorithm:
            raise UserError(f"{path}: algorithm: {value!r} differs from the requested {algorithm!r}")
        elif name == "format" and value != FORMAT:
            raise UserError(f"{path}: format: {value!r} cannot be read by this hadamax; expected {FORMAT}")
        elif name not in ("format", "algorithm"):
            flat[name] = value
    known = {name: kind for group in setting_types(algorithm).values() for name, kind in group.items()}
    arguments = []
    for name, value in flat.items():
        if name not in known:
            raise UserError(f"{path}: {unknown('setting', name, known)}")
        if not _fits(value, known[name]) and not _fits([value], known[name]):
            kind = _describe(known[name])
            raise UserError(f"{path}: {name}: {value!r} is of the wrong type; expected {kind}")
        flag = name.replace("_", "-")
        if isinstance(value, bool) and known[name] is bool:
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            arguments += [f"--{flag}", *map(str, value)]
        else:
            arguments.append(f"--{flag}={value}")
    return arguments


def to_toml(algorithm: str, settings: TrainSettings[Any], about: dict[str, dict[str, Any]]) -> str:
    """Return the text of `config.toml`: every setting that has a value, and the tables `about` the run."""
    tables = {}
    for name, group in settings.groups().items():
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(group).items() if v not in (None, ())}
        tables[algorithm if name == "algorithm" else name] = values
    return tomli_w.dumps({"format": FORMAT, "algorithm": algorithm, **tables, **about})


def from_toml(content: dict[str, Any], path: Path) -> tuple[str, TrainSettings[Any]]:
    """Read the algorithm and the settings from the content of a `config.toml`.

    Raises:
        UserError: written by a newer hadamax, or with settings this one does not have.
    """
    written = content.get("format")
    if not isinstance(written, int) or written > FORMAT:
        raise UserError(f"{path}: format {written!r} cannot be read by this hadamax; expected up to {FORMAT}")
    algorithm = content.get("algorithm", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise UserError(f"{path}: {unknown('algorithm', algorithm, ALGORITHMS)}")
    values: dict[str, dict[str, Any]] = {}
    for group, types in setting_types(algorithm).items():
        table = content.get(algorithm if group == "algorithm" else group, {})
        if not isinstance(table, dict):
            raise UserError(f"{path}: {group}: {table!r} is not a table of settings")
        table = {name: value for name, value in table.items() if name not in REMOVED}
        for name, value in table.items():
            if name not in types:
                raise UserError(f"{path}: {unknown('setting', name, types)}")
            if not _fits(value, types[name]):
                raise UserError(f"{path}: {name}: {value!r} is of the wrong type; expected {_describe(types[name])}")
        values[group] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    try:
        own = ALGORITHMS[algorithm].settings(**values["algorithm"])
        run, network = RunSettings(**values["run"]), NetworkSettings(**values["network"])
        return algorithm, TrainSettings(run, EnvironmentSettings(**values["environment"]), network, own)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _fits(value: Any, kind: Any) -> bool:
    """Return True if a TOML value has a setting's type."""
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in parts
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
    if parts:  # one type or another
        return any(_fits(value, part) for part in parts)
    return type(value) is kind or (kind is float and type(value) is int)


def _describe(kind: Any) -> str:
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return ", ".join(parts)
    if get_origin(kind) is tuple:
        return f"a list of {_describe(parts[0])}"
    if parts:
        return " or ".join(_describe(part) for part in parts if part is not type(None))
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]


NOT_COMPARED = ("out", "threads", "wandb")  # a resumed run keeps its own
LEFT_TO_THE_MACHINE = "auto"


def difference(algorithm: str, asked: TrainSettings[Any], there_algorithm: str, there: TrainSettings[Any]) -> str:
    """Compare an existing run's settings with the requested ones.

    Return the first difference, as `gamma = 0.9, not 0.99`; "" if there is none.

    What `asked` leaves to the machine is not compared.
    """
    if algorithm != there_algorithm:
        return f"algorithm = {there_algorithm}, not {algorithm}"
    for name, group in asked.groups().items():
        for field in fields(group):
            wanted, found = getattr(group, field.name), getattr(getattr(there, name), field.name)
            if field.name not in NOT_COMPARED and wanted not in (LEFT_TO_THE_MACHINE, found):
                return f"{field.name} = {found}, not {wanted}"
    return ""
