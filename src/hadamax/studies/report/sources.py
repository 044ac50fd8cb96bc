"""Tables of a report that document its sources: compared settings, runs, and published scores of other agents."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from hadamax.published import published_agents, random_human, read_table
from hadamax.studies.collect import Run
from hadamax.studies.report.evidence import Evidence
from hadamax.studies.report.health import RunHealth
from hadamax.studies.report.table import NOTHING, Cell, Group, Table, figure, number, text, words
from hadamax.studies.scores import human_normalised

OF_THE_RUN = {"run": ("seed", "out"), "environment": ("env",)}  # differs between runs by design
MOST = 4  # values of a setting that are listed


class Setting(NamedTuple):
    """A setting's value in each variant, as text; several values if runs of the variant differ."""

    group: str
    name: str
    values: tuple[str, ...]
    within: bool  # True if runs of one variant differ


class Settings(NamedTuple):
    protocol: list[Setting]
    differing: list[Setting]
    shared: list[Setting]
    versions: list[Setting]


def compare_settings(evidence: Evidence) -> Settings:
    """Compare the settings of the included runs, with all defaults filled in."""
    runs = {variant: [run for run in evidence.counted if run.variant == variant] for variant in evidence.variants}
    values = {variant: [_flat(run) for run in of] for variant, of in runs.items()}
    versions = {
        variant: [{("versions", k): v for k, v in run.versions.items()} for run in of] for variant, of in runs.items()
    }
    settings, made_with = _rows(values), _rows(versions)
    meant = [row for row in settings if row.group == "environment" and set(row.values) != {NOTHING}]
    rest = [row for row in settings if row.group != "environment" and row.name != "fingerprint"]
    protocol = [row for row in settings if row.name == "fingerprint"] + meant + _evaluation(runs)
    differing = [row for row in (*protocol, *rest, *made_with) if _differs(row)]
    return Settings(protocol, differing, [row for row in rest if not _differs(row)], made_with)


def _flat(run: Run) -> dict[tuple[str, str], Any]:
    groups = {**run.settings.groups(), "environment": run.settings.environment.resolved()}
    flat: dict[tuple[str, str], Any] = {
        ("run", "algorithm"): run.algorithm,
        ("protocol", "fingerprint"): run.fingerprint,
    }
    for group, settings in groups.items():
        name = run.algorithm if group == "algorithm" else group
        skipped = OF_THE_RUN.get(group, ())
        flat |= {(name, key): value for key, value in asdict(settings).items() if key not in skipped}
    return flat


def _evaluation(runs: dict[str, list[Run]]) -> list[Setting]:
    """Return the protocol of the final evaluation, if there was one."""
    found = {
        variant: [
            {
                ("evaluation", "games"): len(run.evaluation["returns"]),
                ("evaluation", "protocol"): run.evaluation["protocol"],
            }
            for run in of
            if run.evaluation
        ]
        for variant, of in runs.items()
    }
    return _rows(found) if any(found.values()) else []


def _rows(values: dict[str, list[dict[tuple[str, str], Any]]]) -> list[Setting]:
    names = dict.fromkeys(name for rows in values.values() for row in rows for name in row)
    found = []
    for group, name in names:
        texts = [
            list(dict.fromkeys(_text(row[group, name]) for row in rows if (group, name) in row))
            for rows in values.values()
        ]
        several = [" or ".join([*of[:MOST], *(["..."] if len(of) > MOST else [])]) or NOTHING for of in texts]
        found.append(Setting(group, name, tuple(several), any(len(of) > 1 for of in texts)))
    return found


def _differs(row: Setting) -> bool:
    return row.within or len(set(row.values)) > 1


def _text(value: Any) -> str:
    if value is None or value == ():
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def published(evidence: Evidence) -> Table:
    rows = [
        [
            words(f"{b.agent} (here)" if b.ours else b.agent, Group(b.agent) if b.ours else None),
            number(b.games, "d"),
            number(b.median, runs=Group(b.agent) if b.ours else None),
            number(b.mean, runs=Group(b.agent) if b.ours else None),
            words(b.frames),
            words(b.protocol),
            words(b.source),
        ]
        for b in beside_published(evidence)
    ]
    columns = (
        text("Agent"),
        figure("Games"),
        figure("Median"),
        figure("Mean"),
        text("Frames"),
        text("Protocol"),
        text("Source"),
    )
    return Table("published", "Human-normalised scores, over those of our games that an agent has", columns, rows)


def published_games(evidence: Evidence) -> Table:
    names = [game for game in evidence.games if game in random_human()]
    agents = {
        agent: scores
        for agent, scores in published_agents().items()
        if names and sum(game in scores for game in names) >= LEAST * len(names)
    }
    rows = []
    for game in names:
        row = [words(game, Group("", game)), *(number(score, ",.1f") for score in random_human()[game])]
        for variant in evidence.variants:
            scores = evidence.raw[variant].get(game, [])
            row.append(number(float(np.mean(scores)) if scores else None, ",.1f", Group(variant, game)))
        rows.append([*row, *(number(scores.get(game), ",.1f") for scores in agents.values())])
    columns = [text("Game"), figure("Random"), figure("Human")]
    columns += [figure(f"{v} (here)", v) for v in evidence.variants] + [figure(agent) for agent in agents]
    return Table("published-games", "Raw scores and published scores", tuple(columns), rows, searched=True)


def quotations() -> Table:
    rows = [[words(q.quantity), words(q.agent), words(q.frames), words(q.value), words(q.source)] for q in quoted()]
    columns = (text("Quantity"), text("Agent"), text("Frames"), text("Value"), text("Source"))
    return Table("quoted", "Results over 57 games as reported by the papers", columns, rows, searched=True)


def settings(evidence: Evidence, found: Settings) -> list[Table]:
    def table(name: str, caption: str, rows: Sequence[Setting]) -> Table:
        columns = (text("Setting"), text("Group", "group"), *(text(v, v) for v in evidence.variants))
        return Table(name, caption, columns, [[words(r.name), words(r.group), *map(words, r.values)] for r in rows])

    def alike(name: str, caption: str, rows: Sequence[Setting]) -> Table:
        cells = [[words(r.name), words(r.group), words(" / ".join(dict.fromkeys(r.values)))] for r in rows]
        return Table(name, caption, (text("Setting"), text("Group", "group"), text("Value")), cells)

    return [
        alike("protocol", "Evaluation protocol of the scores", found.protocol),
        table("differences", "Settings that differ between or within variants", found.differing),
        alike("shared-settings", "Settings shared by all runs", found.shared),
        alike("versions", "Software versions of the runs", found.versions),
    ]


def runs(evidence: Evidence, health: Mapping[Path, RunHealth], out: Path) -> Table:
    """Build the table of included runs, in the order of `evidence.rows`, which defines the anchors."""
    scales, above = evidence.scales, os.path.commonpath([run.path.parent for run in evidence.counted])
    rows = []
    for run, row in zip(evidence.counted, evidence.rows, strict=True):
        seconds, measured = run.training_seconds, health.get(run.path)
        scaled = [
            float(scale.scaled(np.float64(row.score), run.game)) if run.game in scale.limits else None  # type: ignore[arg-type]
            for scale in scales
        ]
        rate = run.clock[0][-1] / seconds if seconds else None
        dead = measured.measure("dead") if measured else None
        rows.append(
            [
                Cell(os.path.relpath(run.path, above), (str(run.path),), None, link(run.path, out)),
                words(run.variant),
                words(run.game),
                number(run.seed, "d"),
                number(row.score, ",.2f"),
                *(number(value, ",.3f") for value in scaled),
                number(row.games, "d"),
                number(row.frame, ",d"),
                number(seconds / 3600 if seconds else None, ",.3g"),
                number(rate, ",.0f"),
                number(measured.measure("rank") if measured else None, ".0f"),
                number(100 * dead if dead is not None else None, ".1f", suffix="%"),
                words(row.protocol),
            ]
        )
    columns = (
        *(text("Run"), text("Variant"), text("Game"), figure("Seed"), figure("Score")),
        *(figure(scale.key.capitalize() + "-normalised", f"{scale.key}_normalised") for scale in scales),
        *(figure("Games", "games_played"), figure("Frame"), figure("Hours"), figure("Frames/s", "frames_per_second")),
        *(figure("Rank", "effective_rank"), figure("Dead", "dead_percent"), text("Protocol")),
    )
    return Table("runs", "Included runs, with links to their folders", columns, rows, searched=True)


def left_out(evidence: Evidence, out: Path) -> Table:
    rows = [
        [words(run.path, href=link(Path(run.path), out) if Path(run.path).is_dir() else ""), words(run.reason)]
        for run in evidence.left_out
    ]
    columns = (text("Run"), text("Reason", "why"))
    return Table("left-out", "Runs that failed, are unfinished or unreadable", columns, rows)


def link(run: Path, out: Path) -> str:
    """Return the link from the report's folder to a run's folder."""
    return quote(os.path.relpath(run.resolve(), out.resolve())) + "/"


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
    """Return the medians that the papers report (source: `data/hadamax_published.md`)."""
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
