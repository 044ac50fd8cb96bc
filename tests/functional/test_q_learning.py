"""Greedy values by hand."""

from __future__ import annotations

import torch

from hadamax.functional import greedy_values


def test_greedy_values_single_and_double() -> None:
    values = torch.tensor([[1.0, 5.0, 3.0], [0.0, -1.0, 2.0]])
    chooser = torch.tensor([[9.0, 0.0, 1.0], [0.0, 1.0, 0.5]])
    assert greedy_values(values).tolist() == [5.0, 2.0]
    assert greedy_values(values, chooser).tolist() == [1.0, -1.0]
