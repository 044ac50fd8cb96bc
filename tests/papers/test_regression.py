"""HR Figures 2 and 12: networks, target, batched training, interval."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from tests.papers.test_from_runs import table
from tests.runs.runs import hadamax
from torch import nn

from hadamax.papers import hr_regression
from hadamax.papers.hr_regression import DEEP, SHALLOW, TANH_HR, best_fit, median_interval, target, train

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("architecture", [a for a in (*SHALLOW, *DEEP) if a.published], ids=lambda a: a.name)
def test_parameter_counts_are_the_published_ones(architecture: hr_regression.Architecture) -> None:
    assert architecture.parameters == architecture.published


def test_deep_product_by_hand() -> None:
    assert DEEP[-1].parameters == 2 * 200 + 2 * (2 * (100 * 100 + 100)) + 101


def test_target_function() -> None:
    for x in (-0.7, 0.0, 0.3):
        expected = 10 * math.sin(7 * x) + 15 * math.sin(10 * x) + 5 * math.cos(5 * x)
        assert target(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(expected)


def test_batched_training_equals_one_network_at_a_time() -> None:
    """Against a plain loop over one network of torch layers."""
    _, errors, predictions = train(TANH_HR.make, (3, 4), 1e-2, steps=20, points=32)
    torch.manual_seed(4)
    ours = TANH_HR.make()
    weights, biases = ours[0].weight.detach().chunk(2), ours[0].bias.detach().chunk(2)
    first, second, last = nn.Linear(1, 100), nn.Linear(1, 100), nn.Linear(100, 1)
    for layer, weight, bias in zip((first, second), weights, biases, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})
    last.load_state_dict(ours[1].state_dict())
    parameters = [p for layer in (first, second, last) for p in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    x = torch.linspace(-1, 1, 32)[:, None]
    for _ in range(20):
        loss = (last(torch.tanh(first(x)) * torch.tanh(second(x))) - target(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    test = torch.linspace(-1, 1, hr_regression.TEST_POINTS)[:, None]
    with torch.no_grad():
        output = last(torch.tanh(first(test)) * torch.tanh(second(test)))
    assert np.allclose(output[:, 0].numpy(), predictions[1], atol=1e-3)
    assert (output - target(test)).square().mean().item() == pytest.approx(errors[-1, 1], rel=1e-4)


@pytest.mark.parametrize("number", [8, 20, 33])
def test_interval_uses_order_statistics(number: int) -> None:
    values = np.random.default_rng(0).lognormal(size=number)
    found = median_interval(values)
    expected = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert found == pytest.approx((np.median(values), expected.low, expected.high))


def test_best_learning_rate_is_chosen() -> None:
    fit = best_fit(SHALLOW[0], (1, 2), rates=(1e-5, 1e-2), steps=60)
    assert fit.rate == 1e-2
    assert fit.choosing[1e-2] < fit.choosing[1e-5]


def test_figure_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = lambda a, seeds, range_: best_fit(a, seeds, range_=range_, rates=(1e-2,), steps=10)  # noqa: E731
    monkeypatch.setattr(hr_regression, "best_fit", quick)
    result = hadamax("paper", "hr-figure-2", "--out", tmp_path, "--seeds", 3)
    assert result.code == 0, result
    assert "| seeds: 3" in result.out
    rows = table(tmp_path / "hr-figure-2.csv")
    assert {row["network"] for row in rows} == {"Tanh", "ReLU", "Tanh (HR)"}
    assert {row["range"] for row in rows} == {"[-1, 1]", "[-3, 3]"}
