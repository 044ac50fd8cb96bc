"""Print a Markdown table with one row for each run's final evaluation.

python results/summary.py results/demo/seed-*
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def row(run: Path) -> str:
    """Return a run's `evaluation.json` as a row of a Markdown table."""
    report = json.loads((run / "evaluation.json").read_text())
    players = {"agent": report["agent"], **report["baselines"]}
    constants = [name for name in players if name.startswith("always ")]
    best = max(constants, key=lambda name: players[name]["mean"])
    cells = [run.name]
    for name in ("agent", "untrained", "random", best):
        low, high = players[name]["ci95"]
        label = f" ({name.removeprefix('always ')})" if name == best else ""
        cells.append(f"{players[name]['mean']:.1f} ± {(high - low) / 2:.1f}{label}")
    return f"| {' | '.join(cells)} |"


def main(runs: list[str]) -> None:
    print("| run | agent | untrained | random | best constant action |")
    print("|---|---|---|---|---|")
    for run in runs:
        print(row(Path(run)))


if __name__ == "__main__":
    main(sys.argv[1:])
