"""Benchmark rounds: jobs alternate, and ratios equal hand-computed ones."""

from __future__ import annotations

import pytest

from hadamax.benchmark.contender import Ratio, in_turns, ratio, total
from hadamax.benchmark.report import TARGETS, Target


def test_jobs_alternate_and_the_first_round_is_dropped() -> None:
    order = []

    def job(name: str, seconds: float):
        def run() -> float:
            order.append(name)
            return seconds + len(order)

        return run

    times = in_turns({"a": job("a", 0.0), "b": job("b", 10.0)}, rounds=2)
    assert order == ["a", "b"] * 3
    assert times == {"a": [3.0, 5.0], "b": [14.0, 16.0]}


def test_ratio_is_taken_within_a_round() -> None:
    """If the machine halves its speed between rounds, both sides change and the ratio does not."""
    assert ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == Ratio(2.0, 2.0, 3.0)


def test_sum_is_taken_within_a_round() -> None:
    assert total([1.0, 2.0], [4.0, 8.0]) == [5.0, 10.0]


@pytest.mark.parametrize(("median", "at_most", "at_least"), [(1.2, True, False), (1.3, True, True), (1.4, False, True)])
def test_ratio_bounds_by_hand(median: float, at_most: bool, at_least: bool) -> None:
    found = Ratio(median, 0.0, 9.0)
    assert Target("x", 1.3).kept(found) is at_most
    assert Target("x", 1.3, at_least=True).kept(found) is at_least


def test_target_names_are_unique() -> None:
    assert len({target.ratio for target in TARGETS}) == len(TARGETS)
