"""ReDo inside an algorithm: schedule, reset units, exact repetition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.probes import TwoChoices, make_learner, probe_environment

pytestmark = pytest.mark.end_to_end


def with_dead_units(algorithm: str, every: int) -> Any:
    """Return a learner of 32 frames per iteration with three dead units in its last hidden layer."""
    environment = probe_environment(lambda: TwoChoices(2), 4)
    settings = {"num_steps": 8, "num_minibatches": 2, "learning_rate": 1e-6}
    learner = make_learner(environment, algorithm=algorithm, redo_every=every, redo_tau=1e-6, **settings)
    with torch.no_grad():
        for layer in learner.network.encoder.dense:
            layer.bias.fill_(1.0)
            layer.weight.abs_()
        learner.network.encoder.dense[1].bias[[3, 5, 8]] = -1e3
    return learner


@pytest.mark.parametrize("algorithm", ["pqn", "ppo"])
def test_dead_units_are_reset_on_schedule(algorithm: str) -> None:
    learner = with_dead_units(algorithm, every=80)  # within the third iteration, the fifth, the eighth
    counts = [learner.iteration().metrics["redo_units"] for _ in range(3)]
    assert counts == [0, 0, 3]
    assert (learner.network.encoder.dense[1].bias > -1).all()
    later = [learner.iteration().metrics["redo_units"] for _ in range(2)]
    assert later[0] == 0


@pytest.mark.parametrize("algorithm", ["pqn", "ppo"])
def test_no_resets_by_default_and_resets_repeat(algorithm: str) -> None:
    plain = with_dead_units(algorithm, every=0)
    assert "redo_units" not in plain.iteration().metrics
    first, second = with_dead_units(algorithm, every=32), with_dead_units(algorithm, every=32)
    assert [first.iteration() for _ in range(3)] == [second.iteration() for _ in range(3)]
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)
