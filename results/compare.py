"""Compare variants: final evaluations and learning curves of the runs in ROOT/GAME/VARIANT/SEED.

python results/compare.py results/precision --out results/precision/curves.png
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hadamax.confidence import ci95_half_width

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
POINTS = 100


def runs_of(root: Path) -> dict[str, dict[str, list[Path]]]:
    """Return the finished runs by game and variant."""
    found: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(root.glob("*/*/*/evaluation.json")):
        game, variant, _ = path.relative_to(root).parts[:3]
        found.setdefault(game, {}).setdefault(variant, []).append(path.parent)
    return found


def score(run: Path) -> float:
    return float(json.loads((run / "evaluation.json").read_text())["agent"]["mean"])


def curve(run: Path, frames: np.ndarray) -> np.ndarray:
    """Return the logged mean return of the last 100 training games, interpolated at these frames."""
    with open(run / "metrics.csv", newline="") as file:
        rows = [(int(r["frame"]), float(r["training_return"])) for r in csv.DictReader(file) if r["training_return"]]
    return np.interp(frames, *np.array(rows).T)


def table(runs: dict[str, dict[str, list[Path]]]) -> None:
    print("| game | variant | final score | seeds | against the first, paired by seed |")
    print("|---|---|---|---|---|")
    for game, variants in runs.items():
        first = next(iter(variants.values()))
        for variant, paths in variants.items():
            scores = np.array([score(path) for path in paths])
            both = {p.name for p in paths} & {p.name for p in first}
            gaps = np.array([score(p) - score(q) for p in paths for q in first if p.name == q.name in both])
            gap = "" if paths is first or len(gaps) < 2 else f"{gaps.mean():+.2f} ± {ci95_half_width(gaps):.2f}"
            spread = f" ± {ci95_half_width(scores):.2f}" if len(scores) > 1 else ""
            print(f"| {game} | {variant} | {scores.mean():.2f}{spread} | {len(scores)} | {gap} |")


def draw(runs: dict[str, dict[str, list[Path]]], out: Path) -> None:
    figure = Figure(figsize=(6 * len(runs), 4.4), dpi=120, layout="constrained")
    for axes, (game, variants) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        for (variant, paths), colour, dash in zip(variants.items(), COLOURS, DASHES, strict=False):
            ends = [int(json.loads((path / "evaluation.json").read_text())["frame"]) for path in paths]
            frames = np.linspace(0, min(ends), POINTS + 1)[1:]
            curves = np.array([curve(path, frames) for path in paths])
            mean = curves.mean(axis=0)
            axes.plot(frames / 1e6, mean, color=colour, linestyle=dash, label=f"{variant} ({len(paths)} seeds)")
            if len(paths) > 1:
                half = ci95_half_width(curves)
                axes.fill_between(frames / 1e6, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=game, xlabel="million frames", ylabel="raw return (last 100 training games)")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("mean over seeds, shaded: Student's 95% interval", fontsize="medium")
    figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, help="file for a picture of the learning curves")
    options = parser.parse_args()
    runs = runs_of(options.root)
    if not runs:
        parser.exit(2, f"root: no ROOT/GAME/VARIANT/SEED/evaluation.json below {options.root}\n")
    table(runs)
    if options.out:
        draw(runs, options.out)


if __name__ == "__main__":
    main()
