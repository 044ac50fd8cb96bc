"""Claims judged by intervals: against differences worked by hand and the normal approximation."""

from __future__ import annotations

import numpy as np
import pytest

from hadamax.papers.claims import CLAIMS, Claim, Verdict, mean_difference, verdicts

LESS, SAME, NOT_MORE = (
    Claim("", "dead", "a", "b", "less"),
    Claim("", "dead", "a", "b", "same"),
    Claim("", "rank", "a", "b", "not more"),
)


@pytest.mark.parametrize(
    ("claim", "low", "high", "word"),
    [
        (LESS, -0.2, -0.1, "holds"),
        (LESS, -0.2, 0.1, "cannot be told"),
        (LESS, 0.1, 0.2, "does not hold"),
        (LESS, None, None, "cannot be told"),
        (SAME, -0.02, 0.04, "holds"),
        (SAME, -0.02, 0.08, "cannot be told"),
        (SAME, 0.06, 0.1, "does not hold"),
        (NOT_MORE, -3.0, 0.0, "holds"),
        (NOT_MORE, -3.0, 1.0, "cannot be told"),
        (NOT_MORE, 0.5, 1.0, "does not hold"),
    ],
)
def test_words(claim: Claim, low: float | None, high: float | None, word: str) -> None:
    assert Verdict(claim, 0.0, low, high).word == word


def test_the_difference_and_its_interval() -> None:
    rng = np.random.default_rng(1)
    ours = {"one": rng.normal(3.0, 1.0, 200).tolist(), "two": rng.normal(1.0, 2.0, 200).tolist()}
    theirs = {"one": rng.normal(2.0, 1.0, 200).tolist(), "two": rng.normal(1.5, 2.0, 200).tolist()}
    difference, low, high = mean_difference(ours, theirs)
    by_hand = np.mean([np.mean(ours[g]) - np.mean(theirs[g]) for g in ours])
    error = np.sqrt(sum(np.var(x[g], ddof=1) / 200 for x in (ours, theirs) for g in ours)) / 2
    assert difference == pytest.approx(by_hand)
    assert low == pytest.approx(by_hand - 1.96 * error, abs=0.02)
    assert high == pytest.approx(by_hand + 1.96 * error, abs=0.02)


def test_one_seed_tells_nothing() -> None:
    assert mean_difference({"one": [2.0]}, {"one": [1.0]}) == (1.0, None, None)


def test_only_shared_games_and_present_variants() -> None:
    dead = {"tanh": {"one": [0.4, 0.5], "two": [0.9, 0.9]}, "tanh-hr": {"one": [0.1, 0.2]}}
    (verdict,) = verdicts({"dead": dead})
    assert verdict.claim is CLAIMS[0]
    assert verdict.difference == pytest.approx(-0.3)
    assert verdict.word == "holds"
    assert "holds (-0.3 of the units, 95% " in verdict.line()
