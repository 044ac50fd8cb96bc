"""Selection of the runs for a figure: which runs it needs, their number, and which of them a folder has.

A figure names a shipped study, and variants and games of it. Other runs can be used if their folders follow the layout
of a study: VARIANT/GAME/seed-N.
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

LEAST_START = 256  # minimum rows in a replay buffer before the first update
MINATAR_ENCODERS = {"nature": "minatar", "nature-norm": "minatar", "hadamax": "hadamax-minatar"}


class Need(NamedTuple):
    """A part of a shipped study; empty fields mean all of it."""

    study: str
    variants: tuple[str, ...] = ()
    games: tuple[str, ...] = ()
    seeds: int = 0


@dataclass(frozen=True)
class Scale:
    """Games, seeds and frames that replace the paper's; None keeps the paper's."""

    games: tuple[str, ...] = ()
    seeds: int | None = None
    frames: int | None = None

    def __bool__(self) -> bool:
        return bool(self.games or self.seeds or self.frames)


class MissingRuns(UserError):
    """Runs that a figure needs are missing."""


class Size(NamedTuple):
    """Number and length of the runs of a need."""

    runs: int
    frames: int  # of each run
    algorithm: str

    def __str__(self) -> str:
        return f"{self.runs:,} run{'s' * (self.runs > 1)} of {frames_in_words(self.frames)} frames ({self.algorithm})"


@cache
def size(need: Need) -> Size:
    """Return the size of a need at the paper's scale."""
    definition = read_definition(shipped_studies()[need.study])
    points = [point for point in definition.points if not need.variants or point.name in need.variants]
    games = need.games or definition.games
    seeds = need.seeds or len(definition.seeds)
    frames = max(int(point.settings.get("frames", 40_000_000)) for point in points)
    return Size(len(points) * len(games) * seeds, frames, points[0].algorithm.upper())


def games_of(need: Need) -> tuple[str, ...]:
    """Return the games of a need."""
    return need.games or read_definition(shipped_studies()[need.study]).games


def variants_of(need: Need) -> tuple[str, ...]:
    """Return the variants of a need."""
    return need.variants or tuple(point.name for point in read_definition(shipped_studies()[need.study]).points)


def study_content(need: Need, scale: Scale) -> dict[str, Any]:
    """Return the study's settings file, reduced to a need and scaled. Schedules and logging scale with the frames.

    Raises:
        UserError: a game does not exist.
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
    """Scale the start of learning of algorithms with a replay buffer to a shorter run."""
    settings = content["settings"]
    usual = getattr(ALGORITHMS[content["algorithm"]].settings, "learning_starts", None)
    start = settings.get("learning_starts", usual)
    if start is not None:
        settings["learning_starts"] = max(int(start * part), LEAST_START)


def find(
    need: Need, folder: Path, scale: Scale, command: str, *, any_algorithm: bool = True
) -> tuple[list[Run], list[str]]:
    """Return the finished runs of a need in or below a folder, and a line per excluded run.

    Args:
        command: command that creates the runs, for the error message.
        any_algorithm: use runs of another algorithm if there are none of the study's.

    Raises:
        UserError: there are no such runs, or they are not comparable.
    """
    try:
        found, left_out = collect([folder])
    except UserError as error:
        raise UserError(f"{error}; to create them: {command}") from None
    wanted = [run for run in found if not need.variants or run.variant in need.variants]
    # In a folder of many studies, prefer this study's runs, then those of its algorithm.
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
        elsewhere = f" for {_options(scale)}; it has {_ranges(there)}" if there else ""
        why = f" ({left_out[0]})" if left_out else elsewhere
        raise UserError(f"runs: {folder} has no finished run of {what}{why}; to create them: {command}")
    _refuse_mixed(finished)
    highest = max(run.seed for run in finished)
    if scale.seeds and highest < scale.seeds:
        left_out.append(f"seeds {highest + 1} to {scale.seeds}: there are no runs")
    return finished, left_out


def _options(scale: Scale) -> str:
    """Return the scale as command-line options."""
    options = (("--games", " ".join(scale.games)), ("--seeds", scale.seeds), ("--frames", scale.frames))
    return " ".join(f"{name} {value}" for name, value in options if value)


def _ranges(runs: Sequence[Run]) -> str:
    """List games, seeds and lengths of runs."""
    games = ", ".join(sorted({run.game for run in runs}))
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    return f"{games}; seeds {seeds}; frames {', '.join(map(str, sorted({run.settings.run.frames for run in runs})))}"


def in_common_games(runs: list[Run]) -> tuple[list[Run], str]:
    """Return the runs in games that every variant has (all runs if there is none), and a note on omitted games."""
    by_variant: dict[str, set[str]] = {}
    for run in runs:
        by_variant.setdefault(run.variant, set()).add(run.game)
    every = set().union(*by_variant.values())
    common = set.intersection(*by_variant.values())
    if common == every:
        return runs, ""
    if not common:
        return runs, "no game is common to all variants, so their games differ"
    short = ", ".join(variant for variant, games in sorted(by_variant.items()) if games < every)
    left_out = ", ".join(sorted(every - common))
    return [run for run in runs if run.game in common], f"omitted games, because {short} lacks them: {left_out}"


def _prefer(runs: list[Run], fits: Callable[[Run], bool]) -> list[Run]:
    return [run for run in runs if fits(run)] or runs


def _refuse_mixed(runs: Sequence[Run]) -> None:
    """Reject runs with different algorithms, protocols or lengths, and duplicates."""
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
                f"runs: {first.path} has {name} {one} and {second.path} {other}: they are not comparable; "
                "select runs with a narrower --runs or with --games, --seeds, --frames"
            )
    seen: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        twin = seen.setdefault((run.variant, run.game, run.seed), run)
        if twin is not run:
            raise UserError(f"runs: {twin.path} and {run.path} are both {run.variant}, {run.game}, seed {run.seed}")


def protocol_of(runs: Sequence[Run]) -> str:
    """Describe algorithm, games, length and fingerprint."""
    games = sorted({run.game for run in runs})
    named = ", ".join(games) if len(games) <= 5 else f"{len(games)} games"
    run = runs[0]
    frames = frames_in_words(run.settings.run.frames)
    encoders = sorted({run.settings.network.encoder for run in runs})
    kind = f"{run.algorithm.upper()}, {'/'.join(encoders)}" if len(encoders) < 3 else run.algorithm.upper()
    return f"{kind}, {named}, {frames} frames, fingerprint {run.fingerprint}"


def scale_of(runs: Sequence[Run], need: Need) -> str:
    """Describe the scale of runs if it differs from the paper's: "PQN, 3 Atari games, 4M frames, 2 seeds"."""
    games = {run.game for run in runs}
    frames, algorithm = runs[0].settings.run.frames, runs[0].algorithm.upper()
    paper = size(need)
    if (frames, algorithm) == (paper.frames, paper.algorithm) and games == set(games_of(need)):
        return ""
    kind = "MinAtar" if all(game.startswith("MinAtar/") for game in games) else "Atari"
    number = f"{len(games)} {kind} game{'s' * (len(games) > 1)}"
    seeds = seeds_of(runs)
    return f"{algorithm}, {number}, {frames_in_words(frames)} frames, {seeds} seed{'s' * (seeds != '1')}"


def seeds_of(runs: Sequence[Run]) -> str:
    """Return the number of seeds per variant and game."""
    counts = Counter((run.variant, run.game) for run in {run.path: run for run in runs}.values())
    low, high = min(counts.values()), max(counts.values())
    return f"{low}" if low == high else f"{low} to {high}"


def merged(needs: Sequence[Need]) -> tuple[Need, ...]:
    """Merge needs into one per study."""
    found: dict[tuple[str, tuple[str, ...], int], Need] = {}
    for need in needs:
        before = found.get((need.study, need.games, need.seeds))
        if before is not None and before.variants and need.variants:
            need = need._replace(variants=tuple(dict.fromkeys((*before.variants, *need.variants))))
        elif before is not None:
            need = need._replace(variants=())
        found[need.study, need.games, need.seeds] = need
    return tuple(found.values())


def frames_in_words(frames: int) -> str:
    """Return a number of frames in short form, such as "4M"."""
    return f"{frames / 1e6:g}M" if frames >= 100_000 else f"{frames:,}"
