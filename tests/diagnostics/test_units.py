"""Dormant, silent and saturated units, output shares and updates against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hadamax.diagnostics import (
    churn,
    dormant_neurons,
    feature_norm,
    gradient_norm,
    output_shares,
    saturated_neurons,
    saturation,
    update_ratio,
    weight_norm,
    zero_neurons,
)

NAN = torch.full((3, 2), torch.nan)


def test_dormant_is_relative_to_the_layer_mean() -> None:
    """Means 0, 1, -1 and 0.1 score 0, 1.90, 1.90 and 0.19 relative to the mean size of 0.525."""
    given = torch.tensor([[0.0, 2.0, -1.0, 0.1], [0.0, 0.0, -1.0, -0.1]])
    assert dormant_neurons(given).tolist() == [True, False, False, False]
    assert dormant_neurons(given, tau=0.2).tolist() == [True, False, False, True]
    assert dormant_neurons(given, tau=0.19).tolist() == [True, False, False, False]
    assert dormant_neurons(1e-20 * given, tau=0.2).tolist() == [True, False, False, True]
    assert dormant_neurons(torch.zeros(3, 2)).all()
    assert not dormant_neurons(torch.full((3, 2), -0.999)).any()  # saturated, and never dormant


def test_zero_units_are_zero_on_every_sample() -> None:
    given = torch.tensor([[0.0, 0.0, 1.0], [-0.0, 1e-30, 1.0]])
    assert zero_neurons(given).tolist() == [True, False, False]


def test_saturation_by_range() -> None:
    given = torch.tensor([[0.979, 0.981, -1.0, 0.0], [0.981, 0.99, 1.0, 0.0]])
    assert saturation(given).tolist() == [0.5, 1.0, 1.0, 0.0]
    given = torch.tensor([[0.0, 0.02, 0.995], [0.009, 0.98, 0.5]])
    assert saturation(given, 0.0, 1.0).tolist() == [1.0, 0.0, 0.5]
    x = torch.linspace(-8, 8, 999)[:, None]  # sigmoid(2x) = (1 + tanh x) / 2: the same inputs saturate
    assert saturation(x.tanh()).item() == pytest.approx(saturation((2 * x).sigmoid(), 0.0, 1.0).item())


def test_saturated_units_stay_at_one_end() -> None:
    """A unit at both ends is fully saturated but not dead; a unit beyond the margin once is neither."""
    given = torch.tensor([[0.99, -1.0, 1.0, 0.97, 0.0], [1.0, -0.985, -1.0, 1.0, 0.0]])
    assert saturated_neurons(given).tolist() == [True, True, False, False, False]
    assert saturated_neurons((given + 1) / 2, 0.0, 1.0).tolist() == [True, True, False, False, False]


def test_feature_norm() -> None:
    assert feature_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]])) == pytest.approx(3.0)


def test_live_and_dead_shares_add_up_to_the_output() -> None:
    features = torch.tensor([[1.0, 0.5, -1.0], [1.0, -0.5, 2.0]])
    head = nn.Linear(3, 2, bias=False)
    head.load_state_dict({"weight": torch.tensor([[2.0, 1.0, 1.0], [4.0, 1.0, 3.0]])})
    live, dead = output_shares(features, head.weight, torch.tensor([True, False, False]))
    assert dead == pytest.approx(3.0)  # a unit that is always 1, times the mean of 2 and 4: a hidden bias
    assert live == pytest.approx(1.0)  # (0 * 1 + 0.5 * 2)
    assert live + dead == pytest.approx(head(features).mean().item())


def test_weights_and_updates() -> None:
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([12.0])})
    parameters = list(layer.parameters())
    assert weight_norm(parameters) == pytest.approx(13.0)
    assert gradient_norm(parameters) is None
    layer(torch.tensor([[1.0, 2.0]])).sum().backward()
    assert gradient_norm(parameters) == pytest.approx(math.sqrt(1 + 4 + 1))
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        layer.bias += 1.3
    assert update_ratio(before, parameters) == pytest.approx(0.1)
    assert update_ratio([torch.zeros(2)], [torch.ones(2)]) is None
    assert weight_norm([torch.full((4,), 1e-30)]) == pytest.approx(2e-30)  # float32 squares would vanish
    with pytest.raises(ValueError, match="same parameters"):
        update_ratio(before, parameters[:1])


def test_churn() -> None:
    before = torch.tensor([[1.0, 2.0], [3.0, 2.0], [0.0, 1.0], [5.0, 4.0]])
    after = torch.tensor([[2.5, 2.0], [9.0, 2.0], [0.0, 5.0], [3.0, 4.0]])
    assert churn(before, after) == 0.5
    assert churn(before, before) == 0.0


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: dormant_neurons(torch.ones(3, 1)), "activations has 1 units; expected 2 or more"),
        (lambda: dormant_neurons(NAN), "activations contains a value that is not finite"),
        (lambda: dormant_neurons(torch.ones(3, 2), tau=-1), "tau -1 is out of range"),
        (lambda: dormant_neurons(torch.ones(0, 2)), "activations has 0 samples; expected 1 or more"),
        (lambda: zero_neurons(NAN), "activations contains a value that is not finite"),
        (lambda: saturation(NAN), "activations contains a value that is not finite"),
        (lambda: saturation(torch.ones(3, 2), 0.0, math.inf), "is not bounded"),
        (lambda: saturation(torch.ones(3, 2), margin=0.5), "margin 0.5 is out of range"),
        (lambda: feature_norm(NAN), "features contains a value that is not finite"),
        (lambda: output_shares(torch.ones(3, 2), torch.ones(4, 3), torch.ones(2) > 0), "must have the same width"),
        (lambda: output_shares(torch.ones(3, 2), torch.ones(4, 2), torch.ones(3) > 0), "must have the same width"),
        (lambda: churn(torch.ones(3, 1), torch.ones(3, 1)), "scores has 1 units; expected 2 or more"),
        (lambda: churn(torch.ones(3, 2), torch.ones(4, 2)), "must be of the same observations"),
        (lambda: churn(torch.ones(3, 2), NAN), "scores contains a value that is not finite"),
    ],
)
def test_invalid_inputs_raise_one_line(call: object, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        call()  # type: ignore[operator]
