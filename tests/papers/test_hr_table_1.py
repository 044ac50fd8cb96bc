"""HR Table 1: formulas against an enumeration of all states, and real layers against the formulas."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tests.runs.runs import hadamax

from hadamax.papers.hr_table_1 import CLOSED, simulate

pytestmark = pytest.mark.end_to_end

# States of a branch with their probabilities: low end, high end, alive.
STATES = {
    "tanh": {"low": 0.5, "high": 0.5},
    "sigmoid": {"zero": 0.5, "one": 0.5},
    "relu": {"zero": 1.0},
}


def enumerated(activation: str, p: float) -> float:
    """Enumerate branch states: a product is constant if both branches are, or if one is zero."""
    states = {name: share * p for name, share in STATES[activation].items()} | {"alive": 1 - p}
    return sum(
        states[a] * states[b]
        for a, b in itertools.product(states, repeat=2)
        if "alive" not in (a, b) or "zero" in (a, b)
    )


@pytest.mark.parametrize("activation", CLOSED)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.39, 0.62, 1.0])
def test_formulas_equal_an_enumeration(activation: str, p: float) -> None:
    assert CLOSED[activation](p) == pytest.approx(enumerated(activation, p))


@pytest.mark.parametrize("activation", CLOSED)
@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("p", [0.2, 0.6])
def test_real_layers_match_the_formulas(activation: str, branches: int, p: float) -> None:
    found = simulate(activation, p, branches, units=2000, seed=7)
    expected = enumerated(activation, p) if branches == 2 else p
    assert abs(found.fraction - expected) < 4 * found.error
    assert found.error == pytest.approx((expected * (1 - expected) / 2000) ** 0.5)


def test_command_writes_the_table(tmp_path: Path) -> None:
    result = hadamax("paper", "hr-table-1", "--out", tmp_path)
    assert result.code == 0
    away = float(result.out.split(" standard errors from the formulas")[0].split()[-1])
    assert away < 4
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".csv", ".txt"}
