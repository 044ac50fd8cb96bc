"""Runs read back from their folders, half-written ones too."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hadamax.errors import UserError
from hadamax.experiments.scores import Array
from hadamax.experiments.suites import folder_name
from hadamax.training.folder import CONFIG, RunFolder
from hadamax.training.logs import read_csv
from hadamax.training.recorder import WINDOWS
from hadamax.training.settings import TrainSettings


@dataclass(frozen=True)
class Run:
    """What a run's folder holds. Curves are raw scores by source: (frames, scores), points without a score left out."""

    path: Path
    variant: str
    algorithm: str
    settings: TrainSettings[Any]
    fingerprint: str
    frame: int  # the last one logged
    finished: bool
    curves: dict[str, tuple[Array, Array]]
    returns: dict[str, list[float]]  # of the last games, by source
    evaluation: dict[str, Any] | None

    @property
    def game(self) -> str:
        return self.settings.environment.game

    @property
    def seed(self) -> int:
        return self.settings.run.seed


def collect(roots: Iterable[Path | str]) -> tuple[list[Run], list[str]]:
    """Every run in or below `roots`, and a line for each folder that cannot be read.

    Raises:
        UserError: there is no run.
    """
    runs, problems = [], []
    places = [Path(root) for root in roots]
    folders = {config.parent: None for place in places for config in sorted(place.rglob(CONFIG))}
    if not folders:
        raise UserError(f"runs: there is none in {', '.join(map(str, places)) or 'nothing'}")
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError as error:
            problems.append(str(error))
    return runs, problems


def read_run(path: Path) -> Run:
    """A run as it stands, finished or not.

    Its variant is that of a study where it lies as a study's runs do, in VARIANT/GAME/seed-N; elsewhere its encoder
    and algorithm name it.

    Raises:
        UserError: not a run, or damaged.
    """
    folder, algorithm, settings = RunFolder.open(path)
    try:
        metrics, episodes = read_csv(folder.metrics), read_csv(folder.episodes)
        frames = [int(row["frame"]) for row in metrics]
        curves = {source: _curve(metrics, f"{source}_return") for source in WINDOWS}
        returns = {source: _last_returns(episodes, source) for source in WINDOWS}
        evaluation = _evaluation(folder.evaluation)
        fingerprint = settings.environment.fingerprint()
    except OSError as error:
        raise UserError(f"run: {path} cannot be read: {error.strerror}") from None
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"run: {path} is damaged: {type(error).__name__}: {' '.join(str(error).split())}") from None
    last = frames[-1] if frames else 0
    interval = last - frames[-2] if len(frames) > 1 else last  # at least one iteration, and the last row is the end's
    names = path.resolve().parts[-3:]
    in_study = names[1:] == (folder_name(settings.environment.game), f"seed-{settings.run.seed}")
    variant = names[0] if in_study else f"{settings.network.encoder}-{algorithm}"
    finished = bool(frames) and settings.run.frames - last < interval
    return Run(path, variant, algorithm, settings, fingerprint, last, finished, curves, returns, evaluation)


def _curve(rows: list[dict[str, str]], column: str) -> tuple[Array, Array]:
    points = [(int(row["frame"]), float(row[column])) for row in rows if row[column]]
    array = np.array(points, np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _last_returns(rows: list[dict[str, str]], source: str) -> list[float]:
    return [float(row["raw_return"]) for row in rows if row["source"] == source][-WINDOWS[source] :]


def _evaluation(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    report = json.loads(path.read_text())
    returns = [float(value) for value in report["agent"]["returns"]]
    if not returns or not np.isfinite(returns).all():
        raise ValueError(f"{path.name} has no scores")
    protocol = f"{report['fingerprint']}, epsilon {float(report['epsilon']):g}"
    return {"returns": returns, "frame": int(report["frame"]), "protocol": protocol}
