"""Activations against their formulas."""

import math
from collections.abc import Callable

import pytest
import torch

from hadamax.networks.activations import (
    ACTIVATIONS,
    LEAKY_RELU_DENOMINATOR,
    LEAKY_RELU_NUMERATOR,
    Rational,
    resolve_activations,
)

POINTS = (-3.0, -0.7, 0.0, 0.4, 2.5)
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
FORMULAS: dict[str, Callable[[float], float]] = {
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "selu": lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * (math.exp(x) - 1)),
    "identity": lambda x: x,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_equals_its_formula(name: str) -> None:
    got = ACTIVATIONS[name].make()(torch.tensor(POINTS, dtype=torch.float64))
    assert got.tolist() == pytest.approx([FORMULAS[name](x) for x in POINTS], abs=1e-12)


def test_crelu_appends_the_negative_part() -> None:
    got = ACTIVATIONS["crelu"].make()(torch.tensor([[1.0, -2.0, 3.0]]))
    assert got.tolist() == [[1.0, 0.0, 3.0, 0.0, 2.0, 0.0]]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_declared_width_equals_output_width(name: str) -> None:
    assert ACTIVATIONS[name].make()(torch.randn(2, 3, 5)).shape == (2, 3, 5 * ACTIVATIONS[name].width)


def test_every_name_is_tested_by_value() -> None:
    assert set(ACTIVATIONS) == set(FORMULAS) | {"crelu", "rational"}


def test_rational_formula_with_other_coefficients() -> None:
    rational = Rational().double()
    a, b = (1.0, -2.0, 0.5, 3.0, -1.0, 0.25), (0.5, -1.0, 2.0, -0.1)
    with torch.no_grad():
        rational.numerator.copy_(torch.tensor(a))
        rational.denominator.copy_(torch.tensor(b))
    for x in POINTS:
        above = sum(a[i] * x**i for i in range(6))
        below = 1 + sum(abs(b[j] * x ** (j + 1)) for j in range(4))
        assert rational(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(above / below, rel=1e-6)


def test_rational_starts_as_a_fit_of_leaky_relu() -> None:
    rational = Rational().double()
    with torch.no_grad():  # the published digits, not their float32 rounding
        rational.numerator.copy_(torch.tensor(LEAKY_RELU_NUMERATOR, dtype=torch.float64))
        rational.denominator.copy_(torch.tensor(LEAKY_RELU_DENOMINATOR, dtype=torch.float64))
    x = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    error = rational(x) - torch.nn.functional.leaky_relu(x, 0.01)
    assert error.abs().max() < 0.031
    assert error.square().mean().sqrt() < 0.00504
    error.square().mean().backward()
    for parameter in (rational.numerator, rational.denominator):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() < 1e-7  # at a minimum


def test_rational_keeps_dtype_and_has_no_pole() -> None:
    x = torch.linspace(-40, 40, 999).bfloat16()
    y = Rational()(x)
    assert y.dtype == torch.bfloat16
    assert y.isfinite().all()


def test_one_name_or_one_per_branch() -> None:
    assert resolve_activations("tanh", 3) == (ACTIVATIONS["tanh"],) * 3
    assert resolve_activations(["tanh", "relu"], 2) == (ACTIVATIONS["tanh"], ACTIVATIONS["relu"])


@pytest.mark.parametrize(
    ("activation", "branches", "error", "message"),
    [
        ("sigmoit", 2, ValueError, 'activation "sigmoit" is unknown; did you mean "sigmoid"?'),
        (("tanh",), 2, ValueError, "names 1 branches and the layer has 2"),
        (("tanh", "crelu"), 2, ValueError, "mixes crelu"),
        (torch.tanh, 2, TypeError, "activation must be a name"),
        (("tanh", 3), 2, TypeError, "activation must be a name"),
        ("tanh", 0, ValueError, "branches must be 1 or more, not 0"),
        ("tanh", 1.5, TypeError, "branches must be a whole number"),
        ("tanh", True, TypeError, "branches must be a whole number"),
    ],
)
def test_invalid_activations_are_one_line_errors(
    activation: object, branches: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as refusal:
        resolve_activations(activation, branches)  # type: ignore[arg-type]
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
