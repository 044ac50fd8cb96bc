"""Synthetic run folders in the format of training, with random scores.

python -m tests.studies.report.synthetic runs/made --games 57 --seeds 5
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hadamax.agents.evaluation import summary
from hadamax.algorithms import ALGORITHMS
from hadamax.environments import EnvironmentSettings
from hadamax.published import random_human
from hadamax.runs.diagnostics import COLUMNS
from hadamax.runs.folder import Spaces
from hadamax.runs.settings import NetworkSettings, RunSettings, TrainSettings, to_toml
from hadamax.studies.scores import Array
from hadamax.studies.suites import folder_name, suite_games

VARIANTS = ("nature-norm", "hadamax")
SKILL = {"nature-norm": 1.0, "hadamax": 1.6}  # of the human's score at the end, other variants 1.2
RANK = {"nature-norm": 180, "hadamax": 320}
LAYERS = {"encoder.blocks.0": 32, "encoder.blocks.1": 64, "encoder.blocks.2": 64, "encoder.dense.0": 512}
VERSIONS = {"python": "3.11.7", "processor": "made", "hadamax": "0.1.0", "torch": "2.13.0+cpu"}


class Game:
    """The attributes of a finished game that `summary` reads."""

    cut = False

    def __init__(self, raw_return: float) -> None:
        self.raw_return, self.steps = raw_return, int(1000 + abs(raw_return) % 100)


def write_run(
    root: Path,
    variant: str,
    game: str,
    seed: int,
    *,
    frames: int = 40_000_000,
    rows: int = 400,
    measurements: int = 20,
    episodes: int = 30,
    encoder: str | None = None,
    environment: dict[str, Any] | None = None,
    skill: float | None = None,
    part: float = 1.0,
) -> Path:
    """Write one run below `root`, trained up to `part`; `episodes=0` omits the evaluation."""
    folder = root / variant / folder_name(game) / f"seed-{seed}"
    folder.mkdir(parents=True)
    generator = np.random.default_rng([seed, *game.encode(), *variant.encode()])
    resolved = EnvironmentSettings(game, **(environment or {})).resolved()
    settings: TrainSettings[Any] = TrainSettings(
        RunSettings(frames=frames, decay_frames=frames, seed=seed, out=str(folder), device="cpu", threads=1),
        resolved,
        NetworkSettings(encoder or (variant if variant in VARIANTS else "hadamax-fast")),
        ALGORITHMS["pqn"].settings(),
    )
    spaces = Spaces((4, 84, 84), 255.0, ("NOOP", "FIRE"))._asdict()
    about = {"protocol": {"fingerprint": resolved.fingerprint()}, "spaces": spaces, "versions": VERSIONS}
    (folder / "config.toml").write_text(to_toml("pqn", settings, about))

    low, high = random_human().get(game, (0.0, 10.0))
    skill = skill if skill is not None else SKILL.get(variant, 1.2) * generator.lognormal(0, 0.3)
    at = (np.arange(1, rows + 1) * frames) // rows
    at = at[at <= part * frames]
    learnt = 1 - np.exp(-4 * at / frames)
    scores = low + (high - low) * skill * learnt * generator.normal(1, 0.05, at.size)
    seconds = at / (5000.0 if variant == "hadamax" else 11_000.0)
    _write_metrics(folder, at, scores, seconds)
    _write_episodes(folder, at, scores, generator)
    _write_diagnostics(folder, at[:: max(rows // max(measurements, 1), 1)], variant, skill, generator, measurements)
    if episodes and part == 1.0:
        games = [Game(float(s)) for s in scores[-1] + (high - low) * 0.1 * generator.normal(size=episodes)]
        report = {"source": "final evaluation", "frame": int(at[-1]), "episodes": episodes, "seed": 1_000_000}
        report |= {"epsilon": 0.0, "max_episode_frames": 108_000, "fingerprint": resolved.fingerprint()}
        report["agent"] = summary(games, game, 4)  # type: ignore[arg-type]
        (folder / "evaluation.json").write_text(json.dumps({**report, "baselines": {}}, indent=1))
    return folder


def write_study(root: Path, variants: Sequence[str], games: Sequence[str], seeds: int, **how: Any) -> Path:
    """Write every combination in the layout of `hadamax sweep`."""
    for variant in variants:
        for game in games:
            for seed in range(1, seeds + 1):
                write_run(root, variant, game, seed, **how)
    return root


def _write_metrics(folder: Path, at: Array, scores: Array, seconds: Array) -> None:
    rate = at[-1] / seconds[-1] if at.size else 0.0
    rows = [
        {
            **{"frame": int(frame), "epsilon": 0.001, "loss": 0.0412, "q_mean": 2.755, "grad_norm": 2.3467},
            **{"learning_rate": 2.23e-05, "training_return": 0.9 * score, "test_return": score},
            **{"seconds": round(second, 3), "frames_per_second": round(rate, 1), "environment": 0.13},
            **{"inference": 0.23, "learning": 0.62, "memory_mib": 563.6},
        }
        for frame, score, second in zip(at.tolist(), scores.tolist(), seconds.tolist(), strict=True)
    ]
    write_rows(folder / "metrics.csv", rows)


def _write_episodes(folder: Path, at: Array, scores: Array, generator: np.random.Generator) -> None:
    rows = [
        {"frame": int(frame), "source": source, "env": env, "raw_return": round(share * score, 2), "length": 1800}
        for frame, score in zip(at.tolist(), scores.tolist(), strict=True)
        for source, env, share in (("training", 0, 0.9), ("training", 1, 0.88), ("training", 2, 0.92), ("test", 0, 1.0))
    ]
    write_rows(folder / "episodes.csv", rows)


def _write_diagnostics(
    folder: Path, at: Array, variant: str, skill: float, generator: np.random.Generator, measurements: int
) -> None:
    if not measurements:
        return
    rows = []
    for frame in at.tolist():
        for kind in ("fixed", "fresh"):
            for layer, units in LAYERS.items():
                rank = RANK.get(variant, 250) * units / 512 * (0.7 + 0.2 * skill) * generator.normal(1, 0.03)
                row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
                row |= {"frame": int(frame), "observations": kind, "layer": layer, "part": "output", "units": units}
                row |= {"samples": 2048, "effective_rank": int(np.clip(rank, 1, units)), "feature_norm": 8.17}
                row |= {"dead_kde": 0.1, "dormant": 0.02, "dead_zero": round(generator.uniform(0, 0.1), 6)}
                rows.append(row)
        rows.append(dict.fromkeys(COLUMNS, "") | {"frame": int(frame), "layer": "head", "part": "weights"})
    write_rows(folder / "diagnostics.csv", rows)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    path.write_text(text.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--games", type=int, default=57)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--rows", type=int, default=400)
    options = parser.parse_args()
    games = suite_games("Atari-57")[: options.games]
    write_study(options.root, options.variants, games, options.seeds, rows=options.rows)


if __name__ == "__main__":
    main()
