"""Reading runs back from their folders, including unfinished ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hadamax.errors import UserError
from hadamax.runs.folder import CONFIG, RunFolder, marked
from hadamax.runs.recorder import WINDOWS
from hadamax.runs.settings import TrainSettings, from_toml, read_toml
from hadamax.studies.scores import Array
from hadamax.studies.suites import folder_name


@dataclass(frozen=True)
class Run:
    """Contents of a run's folder. Curves are (frames, raw scores) by source, without missing scores."""

    path: Path
    variant: str
    algorithm: str
    settings: TrainSettings[Any]
    fingerprint: str
    frame: int  # last logged frame
    finished: bool
    curves: dict[str, tuple[Array, Array]]
    returns: dict[str, list[float]]  # of the last episodes, by source
    evaluation: dict[str, Any] | None
    clock: tuple[Array, Array]  # frames, and seconds of training when they were logged
    memory_mib: float | None  # at the last logged row
    versions: dict[str, Any]

    @property
    def game(self) -> str:
        return self.settings.environment.game

    @property
    def seed(self) -> int:
        return self.settings.run.seed

    @property
    def training_seconds(self) -> float | None:
        """Seconds of training at the last logged row."""
        return float(self.clock[1][-1]) if self.clock[1].size else None


def collect(roots: Iterable[Path | str]) -> tuple[list[Run], list[str]]:
    """Read every run in or below `roots`; also return a line for each folder that cannot be read.

    Raises:
        UserError: there is no run.
    """
    runs, problems = [], []
    places = [Path(root) for root in roots]
    folders = {config.parent: None for place in places for config in sorted(place.rglob(CONFIG))}
    if not folders:
        raise UserError(f"runs: there are no runs in {', '.join(map(str, places)) or 'nothing'}")
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError as error:
            problems.append(str(error))
    return runs, problems


def read_run(path: Path) -> Run:
    """Read a run, finished or not.

    In a study's layout (VARIANT/GAME/seed-N) the variant is the study's; elsewhere it is named by encoder and
    algorithm.

    Raises:
        UserError: it is not a run, or it is damaged.
    """
    folder = RunFolder(path)
    content = read_toml(folder.config)
    algorithm, settings = from_toml(content, folder.config)
    try:
        columns = [f"{source}_return" for source in WINDOWS]
        metrics = read_columns(folder.metrics, ["frame", *columns], ["seconds", "memory_mib"])
        frames = [int(frame) for frame in metrics["frame"]]
        curves = {source: _points(metrics, name) for source, name in zip(WINDOWS, columns, strict=True)}
        returns = _last_returns(folder.episodes)
        evaluation = _evaluation(folder.evaluation)
        clock = _points(metrics, "seconds")
        memory = float(metrics["memory_mib"][-1]) if metrics["memory_mib"] else None
        fingerprint = settings.environment.fingerprint()
    except OSError as error:
        raise UserError(f"run: {path} cannot be read: {error.strerror}") from None
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(f"run: {path} is damaged: {type(error).__name__}: {' '.join(str(error).split())}") from None
    last = frames[-1] if frames else 0
    interval = last - frames[-2] if len(frames) > 1 else last  # one iteration or more
    names = path.resolve().parts[-3:]
    in_study = names[1:] == (folder_name(settings.environment.game), f"seed-{settings.run.seed}")
    variant = names[0] if in_study else f"{settings.network.encoder}-{algorithm}"
    if (path / "checkpoints").is_dir():  # trained in this folder, which has a mark when finished
        finished = marked(path) is not None
    else:  # only its logs, as in committed results
        finished = bool(frames) and settings.run.frames - last < interval
    versions = content["versions"] if isinstance(content.get("versions"), dict) else {}
    scores = last, finished, curves, returns, evaluation
    return Run(path, variant, algorithm, settings, fingerprint, *scores, clock, memory, versions)


def read_columns(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, list[str]]:
    """Read columns of a log by name; empty lists if there is no file. An incomplete last row is ignored.

    Logs contain no quoted commas, so rows are split at commas, which is 5 times faster than `csv`.

    Raises:
        KeyError: a column of `names` is missing.
        IndexError: a row is too short.
    """
    header, rows = _rows(path)
    missing = [name for name in names if header and name not in header]
    if missing:
        raise KeyError(missing[0])
    wanted = [name for name in (*names, *optional) if name in header]
    places = [header.index(name) for name in wanted]
    found: dict[str, list[str]] = {name: [] for name in (*names, *optional)}
    picked = zip(*([cells[i] for i in places] for cells in (row.split(",") for row in rows)), strict=True)
    return {**found, **dict(zip(wanted, map(list, picked), strict=False))}


def _rows(path: Path) -> tuple[list[str], list[str]]:
    if not path.exists():
        return [], []
    header, *rows = path.read_text().split("\n")[:-1] or [""]
    return header.split(","), rows


def _points(columns: dict[str, list[str]], name: str) -> tuple[Array, Array]:
    """Return frames and finite values of a column."""
    if not columns[name]:
        return np.zeros(0), np.zeros(0)
    frames, values = (np.array([float(cell or "nan") for cell in columns[key]]) for key in ("frame", name))
    finite = np.isfinite(values)
    return frames[finite], values[finite]


def _last_returns(path: Path) -> dict[str, list[float]]:
    """Read the last returns of each source, from the end of the file, since these logs are long."""
    found: dict[str, list[float]] = {source: [] for source in WINDOWS}
    header, rows = _rows(path)
    if rows:
        source, value = header.index("source"), header.index("raw_return")
        for row in reversed(rows):
            cells = row.split(",")
            games = found.get(cells[source], [])
            if len(games) < WINDOWS.get(cells[source], 0):
                games.append(float(cells[value]))
            elif all(len(found[name]) == window for name, window in WINDOWS.items()):
                break
    return {name: games[::-1] for name, games in found.items()}


def _evaluation(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    report = json.loads(path.read_text())
    returns = [float(value) for value in report["agent"]["returns"]]
    if not returns or not np.isfinite(returns).all():
        raise ValueError(f"{path.name} has no finite scores")
    protocol = f"{report['fingerprint']}, epsilon {float(report['epsilon']):g}"
    return {"returns": returns, "frame": int(report["frame"]), "protocol": protocol}
