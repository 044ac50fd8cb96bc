"""Evidence of a report: the runs, their scores from one source on common scales, and the excluded runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hadamax.errors import UserError, unknown
from hadamax.published import random_human
from hadamax.runs.folder import CONFIG
from hadamax.runs.recorder import WINDOWS
from hadamax.studies.collect import Run, collect
from hadamax.studies.ledger import Ledger
from hadamax.studies.score_table import Score, curves, pool, score_table
from hadamax.studies.scores import Array, baseline_normalised, baseline_range, human_normalised

Table = dict[str, dict[str, list[float]]]  # {variant: {game: [score of each seed]}}
STRONGEST = ("evaluation", "test", "training")  # sources of scores, best first
ENOUGH = 0.5  # fraction of the runs that must have a score of a source for it to be chosen
PLAIN = ("nature-norm", "nature", "minatar", "mlp")  # the papers' baseline encoders


class LeftOut(NamedTuple):
    """An excluded run, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class ScoreScale:
    """Scores on one scale, of the games that every variant has."""

    key: str  # "human" or "baseline"
    name: str
    about: str
    scores: Table
    limits: dict[str, tuple[float, float]]  # raw scores that map to 0 and 1 in each game

    def scaled(self, values: Array, game: str) -> Array:
        return baseline_normalised(values, self.limits[game])


@dataclass(frozen=True)
class Evidence:
    """Included runs in the order variant, game, seed, with the baseline's first; their scores, and excluded runs."""

    runs: tuple[Run, ...]
    rows: tuple[Score, ...]  # one per included run
    left_out: tuple[LeftOut, ...]
    source: str
    curve_source: str
    baseline: str
    variants: tuple[str, ...]
    games: tuple[str, ...]  # of any variant
    common: tuple[str, ...]  # of every variant
    raw: Table
    scales: tuple[ScoreScale, ...]  # the first one is used for the headline
    notes: tuple[str, ...]

    @cached_property
    def counted(self) -> tuple[Run, ...]:
        """The included runs, in the order of the rows."""
        by_path = {run.path: run for run in self.runs}
        return tuple(by_path[row.run] for row in self.rows)


@dataclass(frozen=True)
class Choices:
    """Options of a report; empty ones are chosen automatically and reported."""

    baseline: str = ""
    source: str = ""
    variants: tuple[str, ...] = ()
    unfinished: bool = False
    mixed: bool = False


def gather(roots: Sequence[Path], choices: Choices) -> Evidence:
    """Read every run in or below `roots`.

    Raises:
        UserError: there is nothing to report, or the runs are not comparable.
    """
    for root in roots:
        if not root.is_dir():
            raise UserError(f"runs: {root} is not a folder")
    runs, problems = collect(roots)
    left_out = [*_unreadable(problems), *_without_config(roots), *_set_aside(roots)]
    runs = sorted(_chosen(runs, choices.variants), key=lambda run: (run.variant, run.game, run.seed, str(run.path)))
    source = choices.source or _source(runs, choices.unfinished)
    rows, reasons = score_table(runs, source, unfinished=choices.unfinished)
    left_out += [LeftOut(*line.split(": ", 1)) for line in reasons]
    left_out = _merged(left_out)
    if not rows:
        more = f"; the first: {left_out[0].path}: {left_out[0].reason}" if left_out else ""
        hint = "" if choices.unfinished else "; --unfinished includes unfinished runs"
        raise UserError(f"runs: none of {len(runs) or len(left_out)} has a score{more}{hint}")
    baseline = _baseline(rows, runs, choices.baseline)
    variants = (baseline, *sorted({row.variant for row in rows} - {baseline}))
    rows = sorted(rows, key=lambda row: (variants.index(row.variant), row.game, row.seed))
    notes = _mixtures(rows) if choices.mixed else []
    table = pool(rows, mixed=choices.mixed)
    games = tuple(sorted({row.game for row in rows}))
    common = tuple(game for game in games if all(game in table[variant] for variant in variants))
    if len(common) < len(games):
        notes.append(
            f"Aggregates and comparisons use the {len(common)} of {len(games)} games for which every variant has an "
            f"included run; they omit {', '.join(game for game in games if game not in common)}."
        )
    by_path = {run.path: run for run in runs}
    counted = [by_path[row.run] for row in rows]
    curve_source = "test" if all(run.curves["test"][0].size for run in counted) else "training"
    scales = [*_human(table, variants, common, notes)]
    scales += _by_baseline(table, variants, common, counted, baseline, curve_source, notes)
    if len(scales) == 2 and len(scales[0].scores[baseline]) < len(scales[1].scores[baseline]):
        scales.reverse()
    everything = (tuple(runs), tuple(rows), tuple(left_out), source, curve_source, baseline, variants, games, common)
    return Evidence(*everything, table, tuple(scales), tuple(notes))


def _chosen(runs: list[Run], variants: tuple[str, ...]) -> list[Run]:
    known = sorted({run.variant for run in runs})
    for name in variants:
        if name not in known:
            raise unknown("variant", name, known)
    return [run for run in runs if not variants or run.variant in variants]


def _source(runs: Iterable[Run], unfinished: bool) -> str:
    """Return the best source that enough runs have."""
    found = {source: len(score_table(runs, source, unfinished=unfinished)[0]) for source in STRONGEST}
    most = max(found.values())
    return next(source for source in STRONGEST if found[source] >= ENOUGH * most)


def _baseline(rows: Iterable[Score], runs: Iterable[Run], name: str) -> str:
    """Return the baseline: the given variant, else the one with the plainest encoder, else the first by name."""
    variants = sorted({row.variant for row in rows})
    if name and name not in variants:
        raise unknown("baseline", name, variants)
    encoders = {run.variant: run.settings.network for run in runs}

    def plainness(variant: str) -> tuple[bool, int, bool, str]:
        network = encoders[variant]
        place = PLAIN.index(network.encoder) if network.encoder in PLAIN else len(PLAIN)
        return (network.branches or 1) > 1, place, bool(network.activation), variant

    return name or min(variants, key=plainness)


def _mixtures(rows: Iterable[Score]) -> list[str]:
    """Describe the differences between runs that are pooled because of --allow-mixed."""
    notes = []
    for name, words in (("protocol", "protocols"), ("frames", "lengths of training")):
        kinds: dict[str, set[str]] = {}
        for row in rows:
            value = getattr(row, name)
            kinds.setdefault(f"{value:,}" if name == "frames" else value, set()).add(row.variant)
        if len(kinds) > 1:
            listed = "; ".join(f"{kind}: {', '.join(sorted(of))}" for kind, of in kinds.items())
            notes.append(f"Runs with different {words} are pooled ({listed}): differences in score may be due to them.")
    return notes


def _human(table: Table, variants: Sequence[str], common: Sequence[str], notes: list[str]) -> list[ScoreScale]:
    games = [game for game in common if game in random_human()]
    if not games:
        return []
    if len(games) < len(common):
        notes.append(f"Without published human scores: {', '.join(sorted(set(common) - set(games)))}.")
    scores = {v: {g: human_normalised(table[v][g], g).tolist() for g in games} for v in variants}
    about = "(score - random) / (human - random), published random and human scores"
    return [
        ScoreScale("human", "human-normalised score", about, scores, {game: random_human()[game] for game in games})
    ]


def _by_baseline(
    table: Table,
    variants: Sequence[str],
    common: Sequence[str],
    runs: Sequence[Run],
    baseline: str,
    source: str,
    notes: list[str],
) -> list[ScoreScale]:
    """Normalise by the baseline's range (HR eq. 8), in games where the baseline's score varies."""
    logged = curves([run for run in runs if run.variant == baseline], source).get(baseline, {})
    limits, without = {}, []
    for game in common:
        try:
            limits[game] = baseline_range(points for _, points in logged.get(game, []))
        except ValueError:
            without.append(game)
    if without:
        notes.append(f"No baseline-normalised score (constant score of {baseline}): {', '.join(without)}.")
    if not limits:
        return []
    scores = {v: {g: baseline_normalised(table[v][g], limits[g]).tolist() for g in limits} for v in variants}
    about = f"(score - min) / (max - min), over all seeds and logged points ({source} games) of {baseline}; HR eq. 8"
    return [ScoreScale("baseline", "baseline-normalised score", about, scores, limits)]


def _unreadable(problems: Iterable[str]) -> list[LeftOut]:
    found = []
    for line in problems:
        line = line.removeprefix("run: ")
        cut = line.find(f"{CONFIG}: ")
        place, reason = (line[: cut - 1], line[cut:]) if cut > 0 else line.split(" ", 1)
        found.append(LeftOut(place, reason))
    return found


def _without_config(roots: Iterable[Path]) -> list[LeftOut]:
    """List folders of started runs without a config file."""
    found = []
    for root in roots:
        for place, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if name != "checkpoints")
            if CONFIG not in files and {"metrics.csv", ".lock", f".writing-{CONFIG}"} & set(files):
                found.append(LeftOut(place, f"incomplete: there is no {CONFIG}"))
    return found


def _set_aside(roots: Iterable[Path]) -> list[LeftOut]:
    """List the runs that sweeps' ledgers mark as set aside."""
    found = []
    for ledger in sorted({path for root in roots for path in root.rglob("ledger.csv")}):
        for name, reason in Ledger(ledger.parent).set_aside().items():
            found.append(LeftOut(str(ledger.parent / name), f"set aside: {reason}"))
    return found


def _merged(found: Iterable[LeftOut]) -> list[LeftOut]:
    """Merge the reasons of each folder into one entry."""
    reasons: dict[str, list[str]] = {}
    for path, reason in found:
        reasons.setdefault(path, []).append(reason)
    return [LeftOut(path, "; ".join(dict.fromkeys(all_))) for path, all_ in sorted(reasons.items())]


def curves_in_words(source: str) -> str:
    """Describe what a point of a curve is."""
    kind = "greedy test games" if source == "test" else "training games, exploration included"
    return f"running mean of the last {WINDOWS[source]} {kind}"


def seeds_in_words(table: Table, games: Iterable[str]) -> str:
    """Return the number of seeds per game: `5`, or `3 to 5`."""
    counts = np.array([len(table[variant][game]) for variant in table for game in games if game in table[variant]])
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"
