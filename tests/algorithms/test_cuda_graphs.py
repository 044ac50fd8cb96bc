"""A learner that replays its recorded forward passes and updates learns the same as one that does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.algorithms.test_pqn_repeats import assert_same, run
from tests.probes import make_learner
from tests.tape import Tape

from hadamax.algorithms.ppo import PPO
from hadamax.algorithms.pqn import PQN
from hadamax.environments import EnvironmentSettings, make_environment, make_groups
from hadamax.kernels.cuda_graphs import CudaGraphCapturer

pytestmark = pytest.mark.end_to_end

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ensemble": {"ensemble": 3, "mask_probability": 0.5},
    "histograms": {"dueling": True, "hl_gauss": True, "bins": 11},
    "redo": {"redo_every": 1, "redo_tau": 0.5},
    "ppo": {"algorithm": "ppo"},
    "ppo-redo": {"algorithm": "ppo", "redo_every": 1, "redo_tau": 0.5},
}


@pytest.fixture(autouse=True)
def _plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADAMAX_KERNELS", "reference")  # a tape does not see the compiled CPU kernels


def learner(encoder: str = "nature-norm", precision: torch.dtype = torch.float32, **settings: Any) -> PQN | PPO:
    """Breakout with a small network; games are truncated early, so some rows bootstrap from a final state."""
    environment = make_environment(
        EnvironmentSettings("Breakout", max_episode_frames=24, screen_size=44), 4, seed=1, threads=1
    )
    given = {"num_steps": 8, "num_minibatches": 4, "num_test_envs": 1, "learning_rate": 1e-3, **settings}
    options = {"width": 0.125}
    return make_learner(environment, encoder=encoder, encoder_options=options, precision=precision, seed=1, **given)


def assert_recorded(recorded: PQN | PPO) -> None:
    for one in (recorded.policy_forward, recorded.learn):
        assert not one.capturer.failed
        assert len(one.graphs) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoder", [pytest.param("nature-norm", marks=pytest.mark.slow), "hadamax"])
def test_replay_equals_eager_execution(form: str, encoder: str) -> None:
    recorded, plain = learner(encoder, **FORMS[form]), learner(encoder, **FORMS[form])
    recorded.use_graphs(Tape())
    assert run(recorded, 4) == run(plain, 4)
    assert_recorded(recorded)
    assert_same(recorded, plain)


@pytest.mark.parametrize("algorithm", ["pqn", "ppo"])
def test_replay_equals_eager_execution_in_bfloat16(algorithm: str) -> None:
    recorded, plain = (learner("hadamax", torch.bfloat16, algorithm=algorithm) for _ in range(2))
    recorded.use_graphs(Tape())
    assert run(recorded, 3) == run(plain, 3)
    assert_recorded(recorded)


def test_each_group_size_has_its_own_graph() -> None:
    learners = []
    for recorder in (Tape(), None):
        environment = make_groups(EnvironmentSettings("Breakout", screen_size=44), 5, 2, seed=1, threads=1)
        options = {"num_steps": 8, "num_minibatches": 4, "num_test_envs": 1, "env_groups": 2}
        learners.append(make_learner(environment, encoder="nature-norm", encoder_options={"width": 0.125}, **options))
        learners[-1].use_graphs(recorder)
    assert run(learners[0], 3) == run(learners[1], 3)
    assert len(learners[0].policy_forward.graphs) == 2


@pytest.mark.parametrize("algorithm", ["pqn", "ppo"])
def test_loading_a_state_discards_the_graphs(algorithm: str) -> None:
    recorded, plain = learner(algorithm=algorithm), learner(algorithm=algorithm)
    recorded.use_graphs(Tape())
    for one in (recorded, plain):
        run(one, 3)
    state = copy.deepcopy(plain.state_dict())
    for one in (recorded, plain):
        one.load_state_dict(copy.deepcopy(state))
    assert not recorded.learn.graphs
    assert run(recorded, 4) == run(plain, 4)
    assert_recorded(recorded)
    assert_same(recorded, plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_graphs_on_a_gpu_match_eager_losses(form: str, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADAMAX_KERNELS", "auto")
    learners = []
    for recorder in (CudaGraphCapturer(torch.device("cuda")), None):
        one = learner("hadamax", precision, device="cuda", **FORMS[form])
        one.use_graphs(recorder)
        learners.append(one)
    for found, expected in zip(*(run(one, 3) for one in learners), strict=True):
        assert found.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=0.05)
    assert_recorded(learners[0])
