"""Rollout storage: dtypes, and minibatches that partition the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hadamax.algorithms.common.on_policy import Rollout


def make_rollout(dtype: str = "uint8") -> Rollout:
    return Rollout(6, 4, (2, 3), np.dtype(dtype), torch.device("cpu"))


@pytest.mark.parametrize(("dtype", "kept"), [("uint8", torch.uint8), ("float32", torch.float32)])
def test_observations_keep_their_dtype(dtype: str, kept: torch.dtype) -> None:
    rollout = make_rollout(dtype)
    assert rollout.observations.dtype == kept
    assert rollout.observations.shape == (6, 4, 2, 3)
    assert {getattr(rollout, name).shape for name in ("actions", "rewards", "next_values", "agent_acted")} == {(6, 4)}


@pytest.mark.parametrize("number", [1, 3, 24])
def test_minibatches_cover_each_row_once(number: int) -> None:
    batches = list(make_rollout().minibatches(number, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [24 // number] * number
    assert torch.cat(batches).sort().values.tolist() == list(range(24))


def test_minibatches_are_reshuffled_by_the_generator() -> None:
    rollout, generator = make_rollout(), torch.Generator().manual_seed(0)
    first, second = (torch.cat(list(rollout.minibatches(4, generator))) for _ in range(2))
    again = torch.cat(list(rollout.minibatches(4, torch.Generator().manual_seed(0))))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(24))
    assert torch.equal(first, again)
