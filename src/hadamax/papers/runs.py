"""The runs that a figure is made of: which it needs, how many that are, which of them are in a folder.

A figure names a shipped study and the variants and games of it. Runs made elsewhere serve as well, if their folders are
named as a study's are: VARIANT/GAME/seed-N.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hadamax.algorithms import ALGORITHMS
from hadamax.errors import UserError
from hadamax.runs.settings import read_toml
from hadamax.studies.collect import Run, collect
from hadamax.studies.definition import read_definition
from hadamax.studies.study import shipped_studies
from hadamax.studies.suites import known_game

LEAST_START = 256  # rows of a replay before the first update
MINATAR_ENCODERS = {"nature": "minatar", "nature-norm": "minatar", "hadamax": "hadamax-minatar"}


class Need(NamedTuple):
    """A part of a shipped study; nothing named is all of it."""

    study: str
    variants: tuple[str, ...] = ()
    games: tuple[str, ...] = ()
    seeds: int = 0


@dataclass(frozen=True)
class Scale:
    """What a person chose in place of the paper's; None keeps that."""

    games: tuple[str, ...] = ()
    seeds: int | None = None
    frames: int | None = None

    def __bool__(self) -> bool:
        return bool(self.games or self.seeds or self.frames)


class MissingRuns(UserError):
    """Runs that a figure needs are not there."""


class Size(NamedTuple):
    """How much a need is."""

    runs: int
    frames: int  # of each run
    algorithm: str

    def __str__(self) -> str:
        return f"{self.runs:,} run{'s' * (self.runs > 1)} of {_short(self.frames)} frames ({self.algorithm})"


@cache
def size(need: Need) -> Size:
    """At the paper's scale."""
    definition = read_definition(shipped_studies()[need.study])
    points = [point for point in definition.points if not need.variants or point.name in need.variants]
    games = need.games or definition.games
    seeds = need.seeds or len(definition.seeds)
    frames = max(int(point.settings.get("frames", 40_000_000)) for point in points)
    return Size(len(points) * len(games) * seeds, frames, points[0].algorithm.upper())


def variants_of(need: Need) -> tuple[str, ...]:
    """The variants that a need names; of a whole study, all of its."""
    return need.variants or tuple(point.name for point in read_definition(shipped_studies()[need.study]).points)


def study_content(need: Need, scale: Scale) -> dict[str, Any]:
    """The study's file with what a figure needs of it, at a scale. Schedules and logs shrink with the frames.

    Raises:
        UserError: a game that does not exist.
    """
    content = read_toml(shipped_studies()[need.study])
    paper = size(need).frames
    frames = scale.frames or paper
    content["name"] = need.study if frames == paper else f"{need.study}-{frames}"
    if scale.games or need.games:
        content.pop("suite", None)
        content["games"] = [known_game(game) for game in scale.games or need.games]
    if scale.seeds or need.seeds:
        content["seeds"] = scale.seeds or need.seeds
    if need.variants:
        content["variants"] = {name: content["variants"][name] for name in need.variants}
    settings = content.setdefault("settings", {})
    settings["frames"] = frames
    if frames != paper:
        _shrink_start(content, frames / paper)
        settings["log_every"] = max(frames // 100, 1)
        settings["diagnostics_every"] = max(frames // 20, 1)
        settings["checkpoint_every"] = max(frames // 10, 1)
        kept = settings.get("keep_checkpoints_at", [])
        if kept:
            settings["keep_checkpoints_at"] = [max(frame * frames // paper, 1) for frame in kept]
    if scale.games and all(game.startswith("MinAtar/") for game in content["games"]):
        for table in (settings, *content.get("variants", {}).values()):
            if table.get("encoder") in MINATAR_ENCODERS:
                if table["encoder"] == "nature":  # has no norm
                    table.setdefault("norm", "none")
                table["encoder"] = MINATAR_ENCODERS[table["encoder"]]
    return content


def _shrink_start(content: dict[str, Any], part: float) -> None:
    """Of an algorithm with a replay, learn after the same part of a shorter run."""
    settings = content["settings"]
    usual = getattr(ALGORITHMS[content["algorithm"]].settings, "learning_starts", None)
    start = settings.get("learning_starts", usual)
    if start is not None:
        settings["learning_starts"] = max(int(start * part), LEAST_START)


def find(
    need: Need, folder: Path, scale: Scale, command: str, *, any_algorithm: bool = True
) -> tuple[list[Run], list[str]]:
    """Finished runs of a need in or below a folder, and what was left out, a line each.

    Args:
        command: what makes the runs, for the refusal.
        any_algorithm: take runs of another algorithm where there are none of the study's.

    Raises:
        UserError: there is none; or some that cannot stand beside each other.
    """
    try:
        found, left_out = collect([folder])
    except UserError as error:
        raise UserError(f"{error}; made by: {command}") from None
    wanted = [run for run in found if not need.variants or run.variant in need.variants]
    # A folder of many studies: this one's, else those of its algorithm, else what there is.
    named = re.compile(rf"{re.escape(need.study)}(-\d+)?")
    wanted = _prefer(wanted, lambda run: any(named.fullmatch(part) for part in run.path.resolve().parts[:-3]))
    algorithm = size(need).algorithm
    same = [run for run in wanted if run.algorithm.upper() == algorithm]
    wanted = same if same or not any_algorithm else wanted
    games = [known_game(game) for game in scale.games]
    there = wanted
    wanted = [run for run in wanted if not games or run.game in games]
    if need.games and not games:
        wanted = _prefer(wanted, lambda run: run.game in need.games)
    wanted = [run for run in wanted if not scale.seeds or run.seed <= scale.seeds]
    wanted = [run for run in wanted if not scale.frames or run.settings.run.frames == scale.frames]
    finished = [run for run in wanted if run.finished]
    left_out += [
        f"{run.path}: not finished: {run.frame:,} of {run.settings.run.frames:,} frames"
        for run in wanted
        if not run.finished
    ]
    if not finished:
        what = f"variants {', '.join(need.variants)}" if need.variants else f"study {need.study}"
        what += "" if any_algorithm else f" by {algorithm}"
        elsewhere = f" that fits {_asked(scale)}; there is {_ranges(there)}" if there else ""
        why = f" ({left_out[0]})" if left_out else elsewhere
        raise UserError(f"runs: {folder} has no finished run of {what}{why}; made by: {command}")
    _refuse_mixed(finished)
    highest = max(run.seed for run in finished)
    if scale.seeds and highest < scale.seeds:
        left_out.append(f"seeds {highest + 1} to {scale.seeds}: there are no runs of them")
    return finished, left_out


def _asked(scale: Scale) -> str:
    """The scale as options of the command."""
    options = (("--games", " ".join(scale.games)), ("--seeds", scale.seeds), ("--frames", scale.frames))
    return " ".join(f"{name} {value}" for name, value in options if value)


def _ranges(runs: Sequence[Run]) -> str:
    """Games, seeds and lengths of what is there."""
    games = ", ".join(sorted({run.game for run in runs}))
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    return f"{games}; seeds {seeds}; frames {', '.join(map(str, sorted({run.settings.run.frames for run in runs})))}"


def in_common_games(runs: list[Run]) -> tuple[list[Run], str]:
    """The runs in games that every variant has, and what was left out, in words; all where there is no such game."""
    by_variant: dict[str, set[str]] = {}
    for run in runs:
        by_variant.setdefault(run.variant, set()).add(run.game)
    every = set().union(*by_variant.values())
    common = set.intersection(*by_variant.values())
    if common == every:
        return runs, ""
    if not common:
        return runs, "no game is common to all variants: they are not of the same games"
    short = ", ".join(variant for variant, games in sorted(by_variant.items()) if games < every)
    left_out = ", ".join(sorted(every - common))
    return [run for run in runs if run.game in common], f"left out are games that {short} lacks: {left_out}"


def _prefer(runs: list[Run], fits: Callable[[Run], bool]) -> list[Run]:
    return [run for run in runs if fits(run)] or runs


def _refuse_mixed(runs: Sequence[Run]) -> None:
    """Runs of several algorithms, protocols or lengths, or one run twice."""
    kinds: dict[str, Callable[[Run], Any]] = {
        "algorithm": lambda run: run.algorithm,
        "protocol": lambda run: run.fingerprint,
        "frames": lambda run: run.settings.run.frames,
    }
    for name, kind in kinds.items():
        by_kind = {kind(run): run for run in reversed(runs)}
        if len(by_kind) > 1:
            (one, first), (other, second), *_ = by_kind.items()
            raise UserError(
                f"runs: {first.path} has {name} {one} and {second.path} {other}: they cannot stand in one figure; "
                "choose with a narrower --runs or with --games, --seeds, --frames"
            )
    seen: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        twin = seen.setdefault((run.variant, run.game, run.seed), run)
        if twin is not run:
            raise UserError(f"runs: {twin.path} and {run.path} are both {run.variant}, {run.game}, seed {run.seed}")


def protocol_of(runs: Sequence[Run]) -> str:
    """Algorithm, games, length and fingerprint in words."""
    games = sorted({run.game for run in runs})
    named = ", ".join(games) if len(games) <= 5 else f"{len(games)} games"
    run = runs[0]
    frames = _short(run.settings.run.frames)
    encoders = sorted({run.settings.network.encoder for run in runs})
    kind = f"{run.algorithm.upper()}, {'/'.join(encoders)}" if len(encoders) < 3 else run.algorithm.upper()
    return f"{kind}, {named}, {frames} frames, fingerprint {run.fingerprint}"


def seeds_of(runs: Sequence[Run]) -> str:
    """How many seeds each variant has in each game."""
    counts = Counter((run.variant, run.game) for run in {run.path: run for run in runs}.values())
    low, high = min(counts.values()), max(counts.values())
    return f"{low}" if low == high else f"{low} to {high}"


def merged(needs: Sequence[Need]) -> tuple[Need, ...]:
    """One need for each study, with all that is needed of it."""
    found: dict[tuple[str, tuple[str, ...], int], Need] = {}
    for need in needs:
        before = found.get((need.study, need.games, need.seeds))
        if before is not None and before.variants and need.variants:
            need = need._replace(variants=tuple(dict.fromkeys((*before.variants, *need.variants))))
        elif before is not None:
            need = need._replace(variants=())
        found[need.study, need.games, need.seeds] = need
    return tuple(found.values())


def _short(frames: int) -> str:
    return f"{frames / 1e6:g}M" if frames >= 100_000 else f"{frames:,}"
