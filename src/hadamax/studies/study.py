"""A study: the runs defined by one TOML file. The file format is described in docs/statistics.md.

study = read_study("hadamax-ablations")      # the name of a shipped study, or the path of a file
for run in study.runs: print(run.id, run.command("runs"))
"""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from hadamax.errors import UserError, unknown
from hadamax.networks import ENCODERS, Encoder, EncoderSpec
from hadamax.runs.folder import Spaces
from hadamax.runs.settings import FORMAT, NetworkSettings, TrainSettings, from_toml, setting_types, toml_arguments
from hadamax.runs.setup import AUTO_ENCODERS, make_encoder
from hadamax.studies.definition import Definition, Point, read_definition
from hadamax.studies.suites import folder_name

# Observation shapes for building encoders without creating the game. MinAtar's number of planes differs by game.
SHAPES = {"atari": (4, 84, 84), "minatar": (4, 10, 10)}


@dataclass(frozen=True)
class StudyRun:
    """GAME/GAME/seed-N."""

    study: str
    variant: str
    game: str
    seed: int
    algorithm: str
    given: dict[str, Any]  # settings by name, as in the file
    settings: TrainSettings[Any]  # with all defaults; device, precision and threads remain to be resolved

    @property
    def id(self) -> str:
        return f"{self.variant}/{folder_name(self.game)}/seed-{self.seed}"

    def folder(self, root: Path | str) -> Path:
        """STUDY/STUDY/VARIANT/GAME/seed-N."""
        return Path(root, self.study, self.id)

    def arguments(self, root: Path | str) -> list[str]:
        """Return the arguments of `hadamax`, `train` first."""
        given = {"env": self.game, **self.given, "seed": self.seed, "out": str(self.folder(root))}
        return ["train", self.algorithm, *toml_arguments(given, self.algorithm, Path(self.study))]

    def command(self, root: Path | str) -> str:
        """Return the shell command that executes this run."""
        return shlex.join(["hadamax", *self.arguments(root)])


@dataclass(frozen=True)
class Study:
    """A study and its runs, in the order variant, game, seed."""

    name: str
    about: str
    runs: tuple[StudyRun, ...]

    @property
    def frames(self) -> int:
        """Total emulator frames of all runs."""
        return sum(run.settings.run.frames for run in self.runs)

    def listing(self) -> list[str]:
        """Describe the study in lines, as printed by a dry run."""
        count = {name: len({getattr(run, name) for run in self.runs}) for name in ("variant", "game", "seed")}
        kinds = [f"{n} {name}{'' if n == 1 else 's'}" for name, n in count.items()]
        lines = [f"{self.name}: {self.about}"] if self.about else [self.name]
        lines.append(f"{len(self.runs):,} runs ({' x '.join(kinds)}), {self.frames:,} frames in all")
        per_variant = Counter(run.variant for run in self.runs)
        for variant, number in per_variant.items():
            frames = sum(run.settings.run.frames for run in self.runs if run.variant == variant)
            lines.append(f"  {variant}: {number:,} runs, {frames:,} frames")
        return lines


def shipped_studies() -> dict[str, Path]:
    """Return the definition files of the shipped studies, by name."""
    folder = Path(str(resources.files("hadamax.studies"))) / "definitions"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_study(source: str | Path) -> Study:
    """Read a study from the path of its file, or by the name of a shipped study.

    Raises:
        UserError: there is no such study, or its file is invalid; the message names the file and the key.
    """
    path = Path(source)
    if path.suffix != ".toml":
        if str(source) not in shipped_studies():
            raise unknown("study", str(source), ["FILE.toml", *shipped_studies()])
        path = shipped_studies()[str(source)]
    definition = read_definition(path)
    runs = tuple(_runs(definition))
    _refuse_twins(runs, path)
    return Study(definition.name, definition.about, runs)


def _runs(definition: Definition) -> Iterator[StudyRun]:
    """Yield all runs of the first seed, then those of the next, so that an unfinished study is balanced."""
    settings: dict[tuple[str, str], TrainSettings[Any]] = {}
    for point in definition.points:
        for game in definition.games:
            try:
                settings[point.name, game] = _settings(point, game, definition.path)
                _architecture(settings[point.name, game].network, settings[point.name, game].environment.family)
            except UserError as error:
                reason = str(error).removeprefix(f"{definition.path}: ")
                raise UserError(f"{definition.path}: variant {point.name}: {reason}") from None
    for seed, point, game in itertools.product(definition.seeds, definition.points, definition.games):
        own = settings[point.name, game]
        seeded = replace(own, run=replace(own.run, seed=seed))
        yield StudyRun(definition.name, point.name, game, seed, point.algorithm, point.settings, seeded)


def _settings(point: Point, game: str, path: Path) -> TrainSettings[Any]:
    """Return all settings with defaults and checked types, as in `hadamax train`."""
    content: dict[str, Any] = {"format": FORMAT, "algorithm": point.algorithm}
    for group, types in setting_types(point.algorithm).items():
        table = {name: value for name, value in {"env": game, **point.settings}.items() if name in types}
        listed = {
            n: [v] if str(types[n]).startswith("tuple") and not isinstance(v, list) else v for n, v in table.items()
        }
        content[point.algorithm if group == "algorithm" else group] = listed
    _, settings = from_toml(content, path)
    run, environment = settings.run, settings.environment.resolved()
    encoder = settings.network.encoder
    if encoder == "auto":
        encoder = AUTO_ENCODERS.get(environment.family, "mlp")
    run = replace(run, decay_frames=settings.decay_frames)
    return replace(settings, run=run, environment=environment, network=replace(settings.network, encoder=encoder))


@cache
def _architecture(network: NetworkSettings, family: str) -> EncoderSpec | NetworkSettings:
    """Return the encoder's specification, so that equal encoders compare as equal; builds it once, to fail early.

    Raises:
        UserError: it cannot be built.
    """
    if network.encoder not in ENCODERS:
        raise unknown("encoder", network.encoder, ENCODERS)
    if family not in SHAPES:
        return network
    encoder = make_encoder(network, Spaces(SHAPES[family], 1.0, ()))
    assert isinstance(encoder, Encoder)
    return replace(encoder.spec, description="", source="")


def _refuse_twins(runs: tuple[StudyRun, ...], path: Path) -> None:
    """Reject two runs with the same settings, although their ids differ."""
    seen: dict[Any, StudyRun] = {}
    for run in runs:
        s = run.settings
        what = _architecture(s.network, s.environment.family)
        twin = seen.setdefault((run.algorithm, s.run, s.environment, s.algorithm, what), run)
        if twin is not run:
            raise UserError(f"{path}: {run.id} has the same settings as {twin.id}; remove one of them")
