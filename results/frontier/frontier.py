"""Compare encoders at equal minutes and equal frames of training: final scores and curves.

    python results/frontier/frontier.py runs/frontier --minutes 10 --out results/frontier

Every run has as many frames as its encoder trains on in MINUTES, measured beforehand, so a frame number corresponds to
a minute whatever the machine's load. Differences are paired by seed; ± is half of Student's 95% interval.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hadamax.confidence import ci95_half_width
from hadamax.papers.output import COLOURS, DASHES
from hadamax.published import random_human
from hadamax.studies.collect import Run, collect

BASELINE = "nature-norm"
POINTS = 200
Scores = dict[str, dict[str, dict[int, float]]]  # variant -> game -> seed -> raw score


def training_score(run: Run, frame: float) -> float:
    """Return the mean of the last 100 training games at a frame; before the first game, the first known value."""
    return float(np.interp(frame, *run.curves["training"]))


def final_score(run: Run) -> float:
    assert run.evaluation is not None, f"{run.path} is not evaluated"
    return float(np.mean(run.evaluation["returns"]))


def normalised(score: float, game: str) -> float:
    random, human = random_human()[game]
    return (score - random) / (human - random)


def table(title: str, scores: Scores) -> list[str]:
    """Return a row per variant: mean score per game, human-normalised mean, difference from the baseline."""
    games = sorted({game for found in scores.values() for game in found})
    lines = ["", f"**{title}**", "", f"| encoder | {' | '.join(games)} | human-normalised | against {BASELINE} |"]
    lines.append("|" + "---|" * (len(games) + 3))
    seeds = sorted(next(iter(scores[BASELINE].values())))
    over_games = {
        variant: np.array([np.mean([normalised(found[game][seed], game) for game in games]) for seed in seeds])
        for variant, found in scores.items()
    }
    for variant, found in scores.items():
        cells = [np.array([found[game][seed] for seed in seeds]) for game in games]
        shown = [f"{cell.mean():.1f} ± {ci95_half_width(cell):.1f}" for cell in cells]
        gap = over_games[variant] - over_games[BASELINE]
        against = "" if variant == BASELINE else f"{gap.mean():+.2f} ± {ci95_half_width(gap):.2f}"
        whole = over_games[variant]
        lines.append(
            f"| `{variant}` | {' | '.join(shown)} | {whole.mean():.2f} ± {ci95_half_width(whole):.2f} | {against} |"
        )
    return lines


def by(runs: list[Run], score: Callable[[Run], float]) -> Scores:
    found: Scores = {}
    for run in runs:
        found.setdefault(run.variant, {}).setdefault(run.game, {})[run.seed] = score(run)
    return found


def draw(runs: list[Run], variants: list[str], minutes: float, out: Path) -> None:
    """Draw one column per game: training games by minute above, by frame below."""
    games = sorted({run.game for run in runs})
    figure = Figure(figsize=(4.2 * len(games), 7.4), dpi=110, layout="constrained")
    grid = figure.subplots(2, len(games), squeeze=False)
    for column, game in zip(grid.T, games, strict=True):
        for number, variant in enumerate(variants):
            own = [run for run in runs if (run.variant, run.game) == (variant, game)]
            places = np.linspace(0, min(run.frame for run in own), POINTS + 1)[1:]
            curves = np.array([[training_score(run, frame) for frame in places] for run in own])
            mean, half = curves.mean(axis=0), ci95_half_width(curves)
            colour, label = COLOURS[number], f"{variant} ({len(own)} seeds)"
            for axes, x in ((column[0], places / own[0].settings.run.frames * minutes), (column[1], places / 1e6)):
                axes.plot(x, mean, color=colour, linestyle=DASHES[number], label=label)
                axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
        column[0].set(title=game, xlabel="minutes on one core")
        column[1].set(xlabel="million frames")
        for axes in column:
            axes.set_ylim(bottom=0)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.3, linewidth=0.6)
    for axes in grid[:, 0]:
        axes.set_ylabel("raw return (last 100 training games)")
    grid[0, 0].legend(frameon=False, fontsize=9)
    figure.suptitle("Score at equal minutes (above) and at equal frames (below); shaded: Student's 95% interval")
    figure.savefig(out / "curves.png")


def write_runs(runs: list[Run], shared: float, out: Path) -> None:
    with open(out / "runs.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["variant", "game", "seed", "frame", "score", "training_score", "at_shared_frames"])
        for run in sorted(runs, key=lambda run: (run.variant, run.game, run.seed)):
            scores = final_score(run), training_score(run, run.frame), training_score(run, shared)
            rows.writerow([run.variant, run.game, run.seed, run.frame, *(f"{score:.3f}" for score in scores)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--minutes", type=float, required=True, help="minutes that each run takes")
    parser.add_argument("--out", type=Path, required=True, help="folder for curves.png and runs.csv")
    given = parser.parse_args()
    runs, problems = collect([given.root])
    unfinished = [str(run.path) for run in runs if not run.finished or run.evaluation is None]
    if problems or unfinished:
        parser.exit(2, f"root: not finished or damaged: {', '.join([*problems, *unfinished])}\n")
    frames = {run.variant: run.settings.run.frames for run in runs}
    variants = sorted(frames, key=lambda variant: -frames[variant])
    runs.sort(key=lambda run: (variants.index(run.variant), run.game, run.seed))
    shared = min(run.frame for run in runs)
    lines = table(f"At equal minutes ({given.minutes:g} on one core): 30 greedy games", by(runs, final_score))
    lines += table("At equal minutes: training games", by(runs, lambda run: training_score(run, run.frame)))
    lines += table(f"At equal frames ({shared:,}): training games", by(runs, lambda run: training_score(run, shared)))
    longer = [run for run in runs if run.variant != variants[-1]]
    later = min(run.frame for run in longer)
    lines += table(
        f"At equal frames ({later:,}), without `{variants[-1]}`: training games",
        by(longer, lambda run: training_score(run, later)),
    )
    print("\n".join(lines[1:]))
    draw(runs, variants, given.minutes, given.out)
    write_runs(runs, shared, given.out)


if __name__ == "__main__":
    main()
