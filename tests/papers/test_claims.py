"""Claims judged by intervals, against scipy's interval and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

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
        (LESS, -0.2, 0.1, "inconclusive"),
        (LESS, 0.1, 0.2, "does not hold"),
        (LESS, None, None, "inconclusive"),
        (SAME, -0.02, 0.04, "holds"),
        (SAME, -0.02, 0.08, "inconclusive"),
        (SAME, 0.06, 0.1, "does not hold"),
        (NOT_MORE, -3.0, 0.0, "holds"),
        (NOT_MORE, -3.0, 1.0, "inconclusive"),
        (NOT_MORE, 0.5, 1.0, "does not hold"),
    ],
)
def test_verdicts_in_words(claim: Claim, low: float | None, high: float | None, word: str) -> None:
    assert Verdict(claim, 0.0, low, high).word == word


def test_one_game_gives_welchs_interval() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1.0, 1.0, 5), rng.normal(0.0, 3.0, 7)
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    found = mean_difference({"one": ours.tolist()}, {"one": theirs.tolist()})
    assert found == pytest.approx((ours.mean() - theirs.mean(), expected.low, expected.high))


def test_intervals_over_games_have_their_coverage() -> None:
    """Three games of different spread, five seeds: 95 of 100 intervals contain the true difference, with tolerance."""
    rng = np.random.default_rng(1)
    spread, truth, held = {"one": 1.0, "two": 4.0, "three": 0.2}, 0.5, 0
    for _ in range(1000):
        ours = {game: rng.normal(truth, sd, 5).tolist() for game, sd in spread.items()}
        theirs = {game: rng.normal(0.0, sd, 5).tolist() for game, sd in spread.items()}
        _, low, high = mean_difference(ours, theirs)
        held += low <= truth <= high
    assert 930 <= held <= 980


def test_no_spread_gives_no_interval() -> None:
    assert mean_difference({"one": [2.0, 2.0]}, {"one": [1.5, 1.5]}) == (0.5, 0.5, 0.5)


def test_one_seed_is_inconclusive() -> None:
    assert mean_difference({"one": [2.0]}, {"one": [1.0]}) == (1.0, None, None)


def test_claims_use_shared_games_and_present_variants() -> None:
    dead = {"tanh": {"one": [0.4, 0.41], "two": [0.9, 0.9]}, "tanh-hr": {"one": [0.1, 0.11]}}
    (verdict,) = verdicts({"dead": dead})
    assert verdict.claim is CLAIMS[0]
    assert verdict.difference == pytest.approx(-0.3)
    assert verdict.word == "holds"
    assert "holds (-0.3 of the units, 95% " in verdict.line()
