"""Published scores for comparison: other agents on the same games, and medians from the Hadamax and PQN papers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hadamax.published import published_agents, read_table
from hadamax.studies.report.evidence import Evidence
from hadamax.studies.scores import human_normalised

LEAST = 0.5  # fraction of our games that a published agent must have to be listed


class Beside(NamedTuple):
    """Human-normalised scores of an agent on those of our games that it has."""

    agent: str
    ours: bool
    games: int
    median: float
    mean: float
    frames: str
    protocol: str
    source: str


class Quoted(NamedTuple):
    """A published aggregate, possibly over other games."""

    quantity: str
    agent: str
    frames: str
    value: str
    source: str


def beside_published(evidence: Evidence) -> list[Beside]:
    """List our variants and every agent with published scores for at least half of our games."""
    human = next((scale for scale in evidence.scales if scale.key == "human"), None)
    if human is None:
        return []
    found = []
    for variant, scores in human.scores.items():
        means = [float(np.mean(row)) for row in scores.values()]
        lengths = sorted({row.frames for row in evidence.rows if row.variant == variant})
        protocols = sorted({row.protocol for row in evidence.rows if row.variant == variant})
        frames = " or ".join(f"{n / 1e6:,.4g}M" for n in lengths)
        found.append(
            Beside(variant, True, len(means), *_middle(means), frames, f"fingerprint {', '.join(protocols)}", "here")
        )
    details = _details()
    for agent, published in published_agents().items():
        means = [float(human_normalised(published[g], g)) for g in human.scores[evidence.baseline] if g in published]
        if len(means) >= max(LEAST * len(human.limits), 1):
            found.append(Beside(agent, False, len(means), *_middle(means), *details[agent]))
    return found


def _middle(means: list[float]) -> tuple[float, float]:
    return float(np.median(means)), float(np.mean(means))


def _details() -> dict[str, tuple[str, str, str]]:
    """Return frames, protocol and source of each agent; several values are listed."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in read_table("published_scores.csv"):
        found.setdefault(row["algo"], []).append(row)

    def kinds(rows: Iterable[dict[str, str]], column: str) -> str:
        return "; ".join(dict.fromkeys(row[column] for row in rows))

    return {agent: (kinds(r, "frames"), kinds(r, "protocol"), kinds(r, "source")) for agent, r in found.items()}


def quoted() -> list[Quoted]:
    """hadamax_published.md`)./hadamax_published.md`)."""
    return [
        Quoted(
            row["quantity"].replace("_", " "),
            row["agent"],
            f"{row['frames_M']}M",
            f"{row['value']} {row['unit']}",
            row["source"],
        )
        for row in read_table("hadamax_published.csv")
    ]
