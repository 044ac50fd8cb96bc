"""HR's claims about dead units, rank and score, judged by confidence intervals: holds, does not hold, inconclusive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

Finals = Mapping[str, Mapping[str, Sequence[float]]]  # {variant: {game: [final value of each run]}}
SAME = 0.05  # tolerance of "no change" in the fraction of dead units; not from a paper


class Claim(NamedTuple):
    """Claim about the difference of a measure between `variant` and `other`."""

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
    """A claim with the difference (variant minus other) that it is judged by, and its 95% interval."""

    claim: Claim
    difference: float
    low: float | None
    high: float | None

    @property
    def word(self) -> str:
        if self.low is None or self.high is None:
            return "inconclusive"
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
    """Judge every claim whose variants and measure exist, over the games that both variants have."""
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
    ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]
) -> tuple[float, float | None, float | None]:
    """Compute the difference of the means over games, with a 95% interval over seeds; None if a game has one seed.

    Welch's t interval: each game and variant has its own variance, with Satterthwaite's degrees of freedom. Unlike a
    bootstrap interval, it is not too narrow for few seeds.
    """
    groups = [np.asarray(values, np.float64) for side in (ours, theirs) for values in side.values()]
    means = [float(np.mean([np.mean(values) for values in side.values()])) for side in (ours, theirs)]
    difference = means[0] - means[1]
    if min(group.size for group in groups) < 2:
        return difference, None, None
    parts = np.array([group.var(ddof=1) / group.size for group in groups]) / len(ours) ** 2
    if not parts.any():
        return difference, difference, difference
    freedom = parts.sum() ** 2 / sum(part**2 / (group.size - 1) for part, group in zip(parts, groups, strict=True))
    reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))
    return difference, difference - reach, difference + reach


def _judge(holds: bool, fails: bool) -> str:
    return "holds" if holds else "does not hold" if fails else "inconclusive"
