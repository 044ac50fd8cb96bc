from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hadamax.confidence import ci95_half_width


def test_against_scipys_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=(5, 4))
    for column, half in zip(values.T, ci95_half_width(values), strict=True):
        low, high = stats.ttest_1samp(column, 0).confidence_interval(0.95)
        assert half == pytest.approx((high - low) / 2)


def test_by_hand_and_of_one() -> None:
    assert ci95_half_width([1, 3]) == pytest.approx(12.7062, rel=1e-4)  # t of one degree of freedom
    assert math.isnan(ci95_half_width([7.0]))
    assert np.isnan(ci95_half_width(np.ones((1, 3)))).all()
