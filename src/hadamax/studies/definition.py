"""Reading and validating the TOML file of a study: its variants, games and seeds."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hadamax.algorithms import ALGORITHMS
from hadamax.errors import UserError, unknown
from hadamax.runs.settings import read_toml, setting_types
from hadamax.studies.suites import known_game, suite_games

KEYS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "about": (str,),
    "algorithm": (str,),
    "suite": (str, list),
    "games": (list,),
    "seeds": (int, list),
    "max_runs": (int,),
    "settings": (dict,),
    "grid": (dict,),
    "list": (dict,),
    "variants": (dict,),
}
KINDS = {str: "text", list: "a list", int: "a whole number", dict: "a table"}
MAX_RUNS = 2_000  # a larger study must set max_runs
MOST_SEEDS = 100_000
SET_BY_THE_STUDY = {"env": "suite or games", "seed": "seeds", "out": "the study's name, variant, game and seed"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+-]*")  # valid folder name on every system


@dataclass(frozen=True)
class Point:
    """A variant at one point of the grid and the list: settings shared by its runs."""

    name: str
    algorithm: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Definition:
    """Contents of a study's file, validated as far as possible without building networks."""

    path: Path
    name: str
    about: str
    games: tuple[str, ...]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]


def read_definition(path: Path) -> Definition:
    """Read and validate the TOML file of a study.

    Raises:
        UserError: it is invalid; the message names the file, the key and what is expected.
    """
    content = read_toml(path)
    try:
        return _definition(content, path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _definition(content: dict[str, Any], path: Path) -> Definition:
    for key, value in content.items():
        if key not in KEYS:
            raise unknown("key", key, KEYS)
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            kinds = " or ".join(KINDS[kind] for kind in KEYS[key])
            raise UserError(f"{key}: {value!r} is of the wrong type; expected {kinds}")
    name = _name("name", content.get("name", path.stem))
    games, seeds = _games(content), _seeds(content)
    grid, steps = _columns("grid", content.get("grid", {})), _columns("list", content.get("list", {}))
    lengths = {len(values) for values in steps.values()}
    if len(lengths) > 1:
        raise UserError(f"list: its settings have {sorted(lengths)} values; expected equally many for each")
    variants = content.get("variants", {"base": {}} if not grid and not steps else {"": {}})
    if not variants:
        raise UserError("variants: the table is empty; omit it for a study of one variant")
    _check_size(content, grid, max(lengths, default=1), len(variants) * len(games) * len(seeds))
    points = tuple(_points(content, variants, grid, steps))
    _refuse_twice("variants", [point.name for point in points])
    return Definition(path, name, content.get("about", ""), games, seeds, points)


def _games(content: dict[str, Any]) -> tuple[str, ...]:
    named = content.get("suite", [])
    named = [named] if isinstance(named, str) else named
    for key, names in (("suite", named), ("games", content.get("games", []))):
        for name in names:
            if not isinstance(name, str):
                raise UserError(f"{key}: {name!r} is not a name; expected text")
    given = [game for suite in named for game in suite_games(suite)] + content.get("games", [])
    games = [known_game(game) for game in given]
    if not games:
        raise UserError('suite: there are no games; expected suite = "NAME" or games = [...]')
    _refuse_twice("games", games)
    return tuple(games)


def _seeds(content: dict[str, Any]) -> tuple[int, ...]:
    """Return the seeds; a number n means seeds 1 to n."""
    given = content.get("seeds", 1)
    if isinstance(given, int) and given > MOST_SEEDS:
        raise UserError(f"seeds: {given} is too many; expected up to {MOST_SEEDS}")
    seeds = list(range(1, given + 1)) if isinstance(given, int) else given
    if not seeds:
        raise UserError(f"seeds: {given!r} is empty; expected a number of seeds or a list of seeds")
    for seed in seeds:
        if type(seed) is not int or seed < 0:
            raise UserError(f"seeds: {seed!r} is not a seed; expected whole numbers, 0 or more")
    _refuse_twice("seeds", seeds)
    return tuple(seeds)


def _refuse_twice(key: str, values: Iterable[Any]) -> None:
    most = Counter(values).most_common(1)
    if most and most[0][1] > 1:
        raise UserError(f"{key}: {most[0][0]!r} is listed twice")


def _columns(key: str, table: dict[str, Any]) -> dict[str, list[Any]]:
    for name, values in table.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{key}: {name}: {values!r} is invalid; expected a list of values")
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if key == "grid" and twice is not None:
            raise UserError(f"grid: {name}: {twice!r} is listed twice")
    return table


def _check_size(content: dict[str, Any], grid: dict[str, list[Any]], steps: int, others: int) -> None:
    """Check the number of runs before the grid is expanded."""
    runs = math.prod(len(values) for values in grid.values()) * steps * others
    most = content.get("max_runs", MAX_RUNS)
    if runs > most:
        raise UserError(f"max_runs: {runs:,} runs exceed {most:,}; to allow them, set max_runs = {runs}")


def _points(
    content: dict[str, Any], variants: dict[str, Any], grid: dict[str, list[Any]], steps: dict[str, list[Any]]
) -> Iterator[Point]:
    common = content.get("settings", {})
    for variant, own in variants.items():
        if not isinstance(own, dict):
            raise UserError(f"variants: {variant}: {own!r} is invalid; expected a table of settings")
        algorithm = own.get("algorithm", content.get("algorithm", ""))
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise unknown("algorithm", algorithm, ALGORITHMS)
        own = {name: value for name, value in own.items() if name != "algorithm"}
        tables = {"settings": common, f"variants: {variant}": own, "grid": grid, "list": steps}
        for place, table in tables.items():
            _check_names(place, table, algorithm)
        _refuse_overlap(tables)
        for values in itertools.product(*grid.values()):
            for step in zip(*steps.values(), strict=True) if steps else [()]:
                chosen = dict(zip((*grid, *steps), (*values, *step), strict=True))
                parts = [variant, *(f"{name}={_text(value)}" for name, value in chosen.items())]
                name = _name("variants", ",".join(part for part in parts if part))
                yield Point(name, algorithm, {**common, **own, **chosen})


def _check_names(place: str, table: Collection[str], algorithm: str) -> None:
    known = [name for group in setting_types(algorithm).values() for name in group]
    for name in table:
        if name in SET_BY_THE_STUDY:
            raise UserError(f"{place}: {name} is set by {SET_BY_THE_STUDY[name]}; remove it")
        if name not in known:
            raise UserError(f"{place}: {unknown('setting', name, known)}")


def _refuse_overlap(tables: dict[str, dict[str, Any]]) -> None:
    """Reject settings of a grid or list that are set elsewhere too. A variant may override a common setting."""
    for place in ("grid", "list"):
        for other, table in tables.items():
            both = [name for name in tables[place] if name in table and other != place]
            if both:
                raise UserError(f"{place}: {both[0]} is also in [{other}]; remove one of them")


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _name(key: str, value: str) -> str:
    if not NAME.fullmatch(value):
        raise UserError(f"{key}: {value!r} is not a valid folder name; expected letters, digits and . _ = , + -")
    return value
