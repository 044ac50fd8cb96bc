"""Scores of agents that play games in sequence: at the end of each visit to a game, and by cycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hadamax.errors import UserError
from hadamax.runs.curve import visits_of
from hadamax.runs.logs import read_csv
from hadamax.runs.settings import read_toml
from hadamax.studies.collect import Run
from hadamax.studies.scores import Array, baseline_normalised, baseline_range

SCORE = "test_return"  # mean of the last 20 games of the greedy test environments


class Visit(NamedTuple):
    """One visit to a game: the frame of its end, and the scores logged during it."""

    game: str
    end: float
    scores: list[float]


def read_visits(run: Run) -> list[Visit]:
    """Return the visits of a run in order.

    Raises:
        UserError: the run has one game only, or no test game ended in a visit.
    """
    visits = [
        Visit(*visit, []) for visit in visits_of(read_toml(run.path / "config.toml"), run.settings.environment.games)
    ]
    if not visits:
        raise UserError(f"runs: {run.path} was trained on one game; expected a sequence of games")
    number = 0
    for row in read_csv(run.path / "metrics.csv"):
        while number + 1 < len(visits) and row["game"] != visits[number].game:
            number += 1
        if row[SCORE]:
            visits[number].scores.append(float(row[SCORE]))
    silent = next((visit.game for visit in visits if not visit.scores), None)
    if silent is not None:
        raise UserError(f"runs: {run.path} has no score in {silent}, because no test game ended")
    return visits


def visit_scores(runs: Sequence[Run]) -> dict[str, list[list[Visit]]]:
    """Return {variant: [visits of each run]} with the last score of each visit, scaled to 0 to 1 in each game.

    A score of 0 is the lowest logged score of any run in that game, and 1 the highest. A baseline's range, as in HR
    eq. 8, would be empty in a game that it never learns in a sequence.

    Raises:
        UserError: all scores in a game are equal.
    """
    visits = {run.path: read_visits(run) for run in runs}
    by_game: dict[str, list[list[float]]] = {}
    for visit in (visit for of_run in visits.values() for visit in of_run):
        by_game.setdefault(visit.game, []).append(visit.scores)
    try:
        ranges = {game: baseline_range(scores) for game, scores in by_game.items()}
    except ValueError as error:
        raise UserError(f"runs: {error}") from None
    found: dict[str, list[list[Visit]]] = {}
    for run in sorted(runs, key=lambda run: (run.variant, run.seed)):
        ends = [
            visit._replace(scores=[float(baseline_normalised(visit.scores[-1], ranges[visit.game]))])
            for visit in visits[run.path]
        ]
        found.setdefault(run.variant, []).append(ends)
    return found


def visit_curves(runs: Sequence[Run]) -> dict[str, dict[str, list[tuple[Array, Array]]]]:
    """Return {variant: {sequence: [(frames, scores) of each run]}}, one point at the end of each visit."""
    (sequence,) = {run.game for run in runs}
    return {
        variant: {
            sequence: [(np.array([v.end for v in ends]), np.array([v.scores[0] for v in ends])) for ends in of_runs]
        }
        for variant, of_runs in visit_scores(runs).items()
    }


def cycle_values(runs: Sequence[Run], *, gain: bool) -> dict[str, dict[str, list[float]]]:
    """Return {variant: {game: [of each run]}}: the score of the last visit, or its `gain` over the first one."""
    found: dict[str, dict[str, list[float]]] = {}
    for variant, of_runs in visit_scores(runs).items():
        games = found.setdefault(variant, {})
        for visits in of_runs:
            for game in dict.fromkeys(visit.game for visit in visits):
                scores = [visit.scores[0] for visit in visits if visit.game == game]
                games.setdefault(game, []).append(scores[-1] - (scores[0] if gain else 0.0))
    return found
