"""Statistics of scores over games and seeds: aggregates, confidence intervals, comparisons, profiles, curves.

Definitions of Agarwal et al. 2021, *Deep Reinforcement Learning at the Edge of the Statistical Precipice*
(arXiv 2108.13264). Scores are a mapping {game: [score of each run]}, normalised beforehand. Games may have different
numbers of runs but have equal weight.
"""

from hadamax.studies.statistics.bootstrap import (
    AGGREGATES,
    Interval,
    aggregate,
    aggregate_intervals,
    iqm,
    mean,
    median,
    optimality_gap,
)
from hadamax.studies.statistics.comparisons import (
    Comparison,
    compare_games,
    compare_over_games,
    difference_intervals,
    holm,
    probability_of_improvement,
)
from hadamax.studies.statistics.curves import Band, common_frames, performance_profile, sample_efficiency, step_values
from hadamax.studies.statistics.runs import Runs

__all__ = [
    "AGGREGATES",
    "Band",
    "Comparison",
    "Interval",
    "Runs",
    "aggregate",
    "aggregate_intervals",
    "common_frames",
    "compare_games",
    "compare_over_games",
    "difference_intervals",
    "holm",
    "iqm",
    "mean",
    "median",
    "optimality_gap",
    "performance_profile",
    "probability_of_improvement",
    "sample_efficiency",
    "step_values",
]
