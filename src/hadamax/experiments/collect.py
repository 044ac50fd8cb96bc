"""Runs read back from their folders, half-written ones too, and their scores as a table that may be pooled.

runs, problems = collect([Path("runs/hadamax-atari10")])
table, left_out = score_table(runs, "test")
aggregate_intervals(pool(table, human_normalised)["hadamax"])
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hadamax.errors import UserError, unknown
from hadamax.experiments.scores import Array, baseline_range
from hadamax.training.folder import CONFIG, RunFolder
from hadamax.training.logs import read_csv
from hadamax.training.recorder import WINDOWS
from hadamax.training.settings import TrainSettings

Scale = Callable[[Array, str], Array]  # raw scores of a game on a common scale: `human_normalised`, for one
SOURCES = {
    "training": f"mean of the last {WINDOWS['training']} training games, exploration included",
    "test": f"mean of the last {WINDOWS['test']} games of the greedy test environments",
    "evaluation": "mean of the games played after training (hadamax evaluate)",
}


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


class Score(NamedTuple):
    """A raw score, and all that must be known before it stands beside another."""

    variant: str
    game: str
    seed: int
    source: str
    score: float
    games: int  # that it is the mean of
    frame: int
    frames: int  # the run was to have
    protocol: str
    run: Path


def collect(roots: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """Every run in or below `roots`, and a line for each folder that cannot be read.

    Raises:
        UserError: there is no run.
    """
    runs, problems = [], []
    roots = list(roots)
    folders = {config.parent: root for root in roots for config in sorted(Path(root).rglob(CONFIG))}
    for folder, root in folders.items():
        try:
            runs.append(read_run(folder, _variant(folder, root)))
        except UserError as error:
            problems.append(str(error))
    if not folders:
        raise UserError(f"runs: there is none in {', '.join(map(str, roots)) or 'nothing'}")
    return runs, problems


def _variant(folder: Path, root: Path) -> str | None:
    """A study's runs lie in VARIANT/GAME/seed-N."""
    parts = folder.resolve().parts
    return parts[-3] if folder != root and len(parts) > 3 and parts[-1].startswith("seed-") else None


def read_run(path: Path, variant: str | None = None) -> Run:
    """A run as it stands, finished or not; without a variant's name, its encoder and algorithm name it.

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
    name = variant or f"{settings.network.encoder}-{algorithm}"
    finished = bool(frames) and settings.run.frames - last < interval
    return Run(path, name, algorithm, settings, fingerprint, last, finished, curves, returns, evaluation)


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


def score_table(runs: Iterable[Run], source: str, *, unfinished: bool = False) -> tuple[list[Score], list[str]]:
    """A row for each run's final score of one source, and a line for each run that has none or is not finished.

    Raises:
        UserError: no such source.
    """
    if source not in SOURCES:
        raise unknown("source", source, SOURCES)
    rows, left_out = [], []
    for run in runs:
        frame, protocol, returns = run.frame, run.fingerprint, run.returns.get(source, [])
        if source == "evaluation" and run.evaluation:
            frame, protocol, returns = (run.evaluation[name] for name in ("frame", "protocol", "returns"))
        total = run.settings.run.frames
        if not run.finished and not unfinished:
            left_out.append(f"{run.path}: not finished: {run.frame:,} of {total:,} frames")
        elif not returns:
            left_out.append(f"{run.path}: no score of source {source!r}")
        else:
            mean, number = float(np.mean(returns)), len(returns)
            rows.append(Score(run.variant, run.game, run.seed, source, mean, number, frame, total, protocol, run.path))
    return rows, left_out


def raw(scores: Array, game: str) -> Array:
    """The scale of the scores themselves: within one game only."""
    return scores


def pool(rows: Iterable[Score], scale: Scale = raw, *, mixed: bool = False) -> dict[str, dict[str, list[float]]]:
    """{variant: {game: [score of each seed]}}, seeds in order, for `hadamax.experiments.statistics`.

    Args:
        mixed: pool rows although their protocols, sources or lengths of training differ.

    Raises:
        UserError: they differ, a seed is there twice, or the scale has nothing for a game.
    """
    rows = sorted(rows, key=lambda row: (row.variant, row.game, row.seed))
    for name in ("protocol", "source", "frames"):
        kinds: dict[Any, Score] = {}
        for row in rows:
            kinds.setdefault(getattr(row, name), row)
        if len(kinds) > 1 and not mixed:
            (one, first), (other, second), *_ = kinds.items()
            raise UserError(
                f"{name}: {first.run} has {one}, {second.run} has {other}: their scores cannot be pooled, "
                "unless mixed runs are asked for"
            )
    pooled: dict[str, dict[str, list[float]]] = {}
    before: Score | None = None
    for row in rows:
        if before and before[:3] == row[:3]:
            raise UserError(f"runs: {before.run} and {row.run} are both {row.variant}, {row.game}, seed {row.seed}")
        before = row
        pooled.setdefault(row.variant, {}).setdefault(row.game, []).append(_scaled(scale, row.score, row.game))
    return pooled


def _scaled(scale: Scale, score: float, game: str) -> float:
    try:
        return float(scale(np.float64(score), game))  # type: ignore[arg-type]
    except (ValueError, KeyError) as error:
        raise UserError(str(error).strip("\"'")) from None


def curves(runs: Iterable[Run], source: str, scale: Scale = raw) -> dict[str, dict[str, list[tuple[Array, Array]]]]:
    """{variant: {game: [(frames, scores) of each run]}} for `sample_efficiency`; runs without a point are left out."""
    if source not in WINDOWS:
        raise unknown("source", source, WINDOWS)
    found: dict[str, dict[str, list[tuple[Array, Array]]]] = {}
    for run in sorted(runs, key=lambda run: (run.variant, run.game, run.seed)):
        frames, scores = run.curves[source]
        if frames.size:
            scaled = frames, scale(scores, run.game)
            found.setdefault(run.variant, {}).setdefault(run.game, []).append(scaled)
    return found


def baseline_ranges(runs: Iterable[Run], variant: str, source: str) -> Mapping[str, tuple[float, float]]:
    """{game: (min, max)} over all seeds and logged points of one variant, for HR eq. 8.

    Raises:
        UserError: no such variant, or a game in which its score never moves.
    """
    by_variant = curves(runs, source)
    if variant not in by_variant:
        raise unknown("variant", variant, by_variant)
    ranges = {}
    for game, rows in by_variant[variant].items():
        try:
            ranges[game] = baseline_range(scores for _, scores in rows)
        except ValueError as error:
            raise UserError(f"{variant}, {game}: {error}") from None
    return ranges
