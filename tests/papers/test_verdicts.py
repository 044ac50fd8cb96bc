"""Claims judged by intervals and p-values, against scipy's and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hadamax.papers.claims import HR
from hadamax.papers.verdicts import Claim, Difference, Verdict, claim, mean_difference, one_sided, verdicts

LESS, MORE, SAME = (claim("", f"dead: a {sign} b") for sign in "<>=")


@pytest.mark.parametrize(
    ("said", "low", "high", "word"),
    [
        (LESS, -0.2, -0.1, "holds"),
        (LESS, -0.2, 0.1, "inconclusive"),
        (LESS, 0.1, 0.2, "does not hold"),
        (MORE, 0.1, 0.2, "holds"),
        (MORE, -0.2, -0.1, "does not hold"),
        (SAME, -0.02, 0.04, "holds"),
        (SAME, -0.02, 0.08, "inconclusive"),
        (SAME, 0.06, 0.1, "does not hold"),
        (SAME, -0.1, -0.06, "does not hold"),
    ],
)
def test_verdict_follows_from_the_interval(said: Claim, low: float, high: float, word: str) -> None:
    freedom = 6.0
    error = (high - low) / 2 / stats.t.ppf(0.975, freedom)
    difference = Difference((low + high) / 2, error, freedom)
    assert difference.interval == pytest.approx((low, high))
    assert Verdict(said, difference, min(2 * min(one_sided(said, difference)), 1.0)).word == word


def test_one_game_gives_welchs_interval_and_p_value() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1.0, 1.0, 5), rng.normal(0.0, 3.0, 7)
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    (verdict,) = verdicts({"dead": {"a": {"one": ours.tolist()}, "b": {"one": theirs.tolist()}}}, [MORE])
    found = verdict.difference
    assert found.value == pytest.approx(ours.mean() - theirs.mean())
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert verdict.p_value == pytest.approx(expected.pvalue)


def test_a_bound_gives_students_one_sample_test() -> None:
    values = [0.05, 0.02, 0.04]
    below = claim("", "dead: a < 0.08")
    (verdict,) = verdicts({"dead": {"a": {"one": values}}}, [below])
    expected = stats.ttest_1samp(values, 0.08)
    assert verdict.p_value == pytest.approx(expected.pvalue)
    assert verdict.difference.value == pytest.approx(np.mean(values) - 0.08)


def test_intervals_over_games_have_their_coverage() -> None:
    """Three games of different spread, five seeds: 95 of 100 intervals contain the true difference, with tolerance."""
    rng = np.random.default_rng(1)
    spread, truth, held = {"one": 1.0, "two": 4.0, "three": 0.2}, 0.5, 0
    for _ in range(1000):
        ours = {game: rng.normal(truth, sd, 5).tolist() for game, sd in spread.items()}
        theirs = {game: rng.normal(0.0, sd, 5).tolist() for game, sd in spread.items()}
        interval = mean_difference(ours, theirs).interval
        assert interval is not None
        held += interval[0] <= truth <= interval[1]
    assert 930 <= held <= 980


def test_without_spread_the_sign_decides() -> None:
    finals = {"dead": {"a": {"one": [2.0, 2.0]}, "b": {"one": [1.5, 1.5]}}}
    more, less = verdicts(finals, [MORE, LESS])
    assert more.difference.interval == (0.5, 0.5)
    assert (more.word, less.word) == ("holds", "does not hold")


def test_one_seed_is_inconclusive() -> None:
    (verdict,) = verdicts({"dead": {"a": {"one": [2.0]}, "b": {"one": [1.0]}}}, [MORE])
    assert verdict.difference.value == 1.0
    assert verdict.difference.interval is None
    assert verdict.word == "inconclusive"


def test_holms_correction_can_undo_a_verdict() -> None:
    finals = {"dead": {"a": {"one": [1.0, 1.4, 1.8, 2.2]}, "b": {"one": [0.0, 0.4, 0.8, 1.2]}}}
    (alone,) = verdicts(finals, [MORE])
    among_four = verdicts(finals, [MORE] * 4)[0]
    assert alone.p_value is not None
    assert among_four.p_value == pytest.approx(4 * alone.p_value)
    assert (alone.word, among_four.word) == ("holds", "inconclusive")


def test_claims_use_shared_games_and_present_variants() -> None:
    dead = {"tanh": {"one": [0.4, 0.41], "two": [0.9, 0.9]}, "tanh-hr": {"one": [0.1, 0.11]}}
    (verdict,) = verdicts({"dead": dead}, HR)
    assert verdict.claim is HR[0]
    assert verdict.difference.value == pytest.approx(-0.3)
    assert verdict.word == "holds"
    assert "holds (-0.3 of the units, 95% " in verdict.line()
