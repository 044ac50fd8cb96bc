"""HR's claims about dead units, rank and score, each judged by an interval: holds, does not hold, or cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from hadamax.experiments.statistics.aggregates import mean
from hadamax.experiments.statistics.bootstrap import hopeless, percentiles
from hadamax.experiments.statistics.runs import Runs, resamples

Finals = Mapping[str, Mapping[str, Sequence[float]]]  # {variant: {game: [final value of each run]}}
SAME = 0.05  # "no change" in a fraction of dead units is within this: ours
REPLICATES = 10_000


class Claim(NamedTuple):
    """`variant` against `other`: what is said of the difference of a measure."""

    text: str
    measure: Literal["dead", "rank", "score"]
    variant: str
    other: str
    says: Literal["less", "more", "not more", "same"]


CLAIMS = (
    Claim("a product of tanh has fewer dead units than tanh", "dead", "tanh-hr", "tanh", "less"),
    Claim("a product of tanh has a higher effective rank than tanh", "rank", "tanh-hr", "tanh", "more"),
    Claim("a product of sigmoids has as many dead units as sigmoid", "dead", "sigmoid-hr", "sigmoid", "same"),
    Claim("a product of ReLUs has more dead units than ReLU", "dead", "relu-hr", "relu", "more"),
    Claim("a product of ReLUs has a lower effective rank than ReLU", "rank", "relu-hr", "relu", "less"),
    Claim("layer norm leaves fewer dead units than a product of tanh", "dead", "tanh-norm", "tanh-hr", "less"),
    Claim("layer norm has no higher rank than a product of tanh", "rank", "tanh-norm", "tanh-hr", "not more"),
    Claim("a product of tanh scores higher than tanh", "score", "tanh-hr", "tanh", "more"),
    Claim("a product of tanh scores higher than ReLU", "score", "tanh-hr", "relu", "more"),
    Claim("a sum of tanh scores lower than their product", "score", "tanh-sum", "tanh-hr", "less"),
)


class Verdict(NamedTuple):
    """A claim with the difference that it is judged by, variant less other, and its 95% interval."""

    claim: Claim
    difference: float
    low: float | None
    high: float | None

    @property
    def word(self) -> str:
        if self.low is None or self.high is None:
            return "cannot be told"
        low, high = self.low, self.high
        if self.claim.says == "same":
            return _judge(low >= -SAME and high <= SAME, low > SAME or high < -SAME)
        if self.claim.says == "not more":
            return _judge(high <= 0, low > 0)
        return _judge(high < 0, low > 0) if self.claim.says == "less" else _judge(low > 0, high < 0)

    def line(self) -> str:
        unit = {"dead": " of the units", "rank": " in rank", "score": " in score"}[self.claim.measure]
        interval = "" if self.low is None else f", 95% {self.low:+.3g} to {self.high:+.3g}"
        return f"{self.claim.text}: {self.word} ({self.difference:+.3g}{unit}{interval})"


def verdicts(finals: Mapping[str, Finals], claims: Sequence[Claim] = CLAIMS) -> list[Verdict]:
    """Of every claim whose variants and measure are there, over the games that both have."""
    found = []
    for claim in claims:
        values = finals.get(claim.measure, {})
        if claim.variant in values and claim.other in values:
            ours, theirs = values[claim.variant], values[claim.other]
            games = [game for game in ours if game in theirs]
            if games:
                difference = mean_difference({g: ours[g] for g in games}, {g: theirs[g] for g in games})
                found.append(Verdict(claim, *difference))
    return found


def mean_difference(
    ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]], seed: int = 0
) -> tuple[float, float | None, float | None]:
    """Difference of the means over games, and its 95% interval: seeds of both are drawn anew, independently."""
    pair = [Runs.of(ours), Runs.of(theirs)]
    difference = float(mean(pair[0]) - mean(pair[1]))
    if hopeless(pair, False):
        return difference, None, None
    drawn = []
    for runs, generator in zip(pair, np.random.default_rng(seed).spawn(2), strict=True):
        pieces = resamples(runs, REPLICATES, generator)
        drawn.append(np.concatenate([mean(Runs(runs.values.ravel()[at], counts)) for at, counts in pieces]))
    low, high = percentiles([drawn[0] - drawn[1]], 0.95)
    return difference, float(low), float(high)


def _judge(holds: bool, fails: bool) -> str:
    return "holds" if holds else "does not hold" if fails else "cannot be told"
