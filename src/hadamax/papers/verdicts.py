"""Judge a claim by the difference of two means and its 95% interval: holds, does not hold, inconclusive."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from hadamax.studies.statistics.comparisons import holm

Finals = Mapping[str, Mapping[str, Sequence[float]]]  # {variant: {game: [final value of each run]}}
SAME = 0.05  # tolerance of "same", for fractions of dead units; not from a paper
ALPHA = 0.05


class Claim(NamedTuple):
    """Claim about a measure of `variant`, compared with that of `other`, or with `bound` if there is no `other`."""

    text: str
    measure: str  # as in `measures.final_values`
    variant: str
    says: Literal["less", "more", "same"]
    other: str = ""
    bound: float = 0.0
    source: str = ""
    published: str = ""


SIGNS: dict[str, Literal["less", "more", "same"]] = {"<": "less", ">": "more", "=": "same"}


def claim(text: str, test: str, source: str = "", published: str = "") -> Claim:
    """Build a claim from a test such as "dead: tanh-hr < tanh" or "dead anywhere: hadamax < 0.08"."""
    measure, _, comparison = test.partition(": ")
    variant, sign, other = comparison.split()
    if other[0].isdigit():
        return Claim(text, measure, variant, SIGNS[sign], "", float(other), source, published)
    return Claim(text, measure, variant, SIGNS[sign], other, 0.0, source, published)


class Difference(NamedTuple):
    """Difference of two means over games, with Welch's standard error over seeds; None if a game has one seed."""

    value: float
    error: float | None = None
    freedom: float = math.inf  # Satterthwaite's degrees of freedom

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval. Unlike a bootstrap interval, Student's is not too narrow for few seeds."""
        if self.error is None:
            return None
        reach = float(stats.t.ppf(1 - ALPHA / 2, self.freedom)) * self.error
        return self.value - reach, self.value + reach

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value for "the true difference is above `bound`"."""
        if self.error is None:
            return 1.0
        if self.error == 0:
            return 0.0 if self.value > bound else 1.0
        return float(stats.t.sf((self.value - bound) / self.error, self.freedom))

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value for "the true difference is below `bound`"."""
        return self._replace(value=-self.value).p_above(-bound)


class Verdict(NamedTuple):
    """A claim, the difference by which it is judged (variant minus other or bound), and its adjusted p-value."""

    claim: Claim
    difference: Difference
    p_value: float | None = None  # two-sided; None without an interval

    @property
    def word(self) -> str:
        if self.p_value is None or self.p_value > ALPHA:
            return "inconclusive"
        holds, fails = one_sided(self.claim, self.difference)
        return "holds" if holds < fails else "does not hold"

    def line(self) -> str:
        unit = {"dead": " of the units", "rank": " in rank", "score": " in score"}[self.claim.measure]
        interval = self.difference.interval
        said = ""
        if interval is not None and self.p_value is not None:
            said = f", 95% {interval[0]:+.3g} to {interval[1]:+.3g}, p {self.p_value:.2g}"
        return f"{self.claim.text}: {self.word} ({self.difference.value:+.3g}{unit}{said})"


def one_sided(claim: Claim, difference: Difference) -> tuple[float, float]:
    """Return the p-values for "the claim holds" and for "it does not hold"."""
    if claim.says == "same":
        inside = max(difference.p_above(-SAME), difference.p_below(SAME))  # two one-sided tests
        return inside, min(difference.p_above(SAME), difference.p_below(-SAME))
    holds, fails = difference.p_above(0.0), difference.p_below(0.0)
    return (holds, fails) if claim.says == "more" else (fails, holds)


def verdicts(finals: Mapping[str, Finals], claims: Sequence[Claim]) -> list[Verdict]:
    """Judge every claim whose variants and measure exist, over the games that both variants have.

    Holm's correction adjusts the p-values for the number of claims.
    """
    found = []
    for claim in claims:
        values = finals.get(claim.measure, {})
        ours, theirs = values.get(claim.variant, {}), values.get(claim.other, {})
        games = [game for game in ours if not claim.other or game in theirs]
        if games:
            other = {game: theirs[game] for game in games} if claim.other else {"": [claim.bound]}
            found.append(Verdict(claim, mean_difference({game: ours[game] for game in games}, other)))
    known = [i for i, verdict in enumerate(found) if verdict.difference.error is not None]
    two_sided = [min(2 * min(one_sided(found[i].claim, found[i].difference)), 1.0) for i in known]
    for i, p_value in zip(known, holm(two_sided), strict=True):
        found[i] = found[i]._replace(p_value=float(p_value))
    return found


def mean_difference(ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]) -> Difference:
    """Compute the difference of the means over games; one number of no game (the key "") has no error.

    Welch's standard error: each game and variant has its own variance, with Satterthwaite's degrees of freedom.
    """
    sides = [{game: np.asarray(values, np.float64) for game, values in side.items()} for side in (ours, theirs)]
    first, second = (float(np.mean([values.mean() for values in side.values()])) for side in sides)
    groups = [(values, len(side)) for side in sides for game, values in side.items() if game]
    if min(values.size for values, _ in groups) < 2:
        return Difference(first - second)
    parts = np.array([values.var(ddof=1) / values.size / games**2 for values, games in groups])
    if not parts.any():
        return Difference(first - second, 0.0)
    freedom = parts.sum() ** 2 / sum(
        part**2 / (values.size - 1) for part, (values, _) in zip(parts, groups, strict=True)
    )
    return Difference(first - second, float(np.sqrt(parts.sum())), float(freedom))
