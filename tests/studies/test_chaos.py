"""Studies under kills end as undisturbed ones, on one machine and on a Ray cluster."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.studies.chaos import Plan, trial

pytestmark = pytest.mark.slow


def test_chaos_on_one_machine(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    plan = Plan(games=1, seeds=1, frames=8192, kills_a_run=3, sweep_kills=1)
    assert trial(tmp_path, plan, random.Random(1)).workers_killed


@pytest.mark.extra("ray")
@pytest.mark.filterwarnings("ignore")  # warnings of Ray's own code
def test_chaos_on_a_cluster_that_loses_a_node(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    plan = Plan("ray", games=1, seeds=1, frames=8192, kills_a_run=0, sweep_kills=1, nodes=2, nodes_removed=1)
    trial(tmp_path, plan, random.Random(1))
