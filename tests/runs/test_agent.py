"""`hadamax.load(run).act(observations)`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tests.runs.runs import BREAKOUT, CARTPOLE, checkpoint, make

import hadamax
from hadamax.agents.run_agent import untrained
from hadamax.errors import UserError
from hadamax.runs.folder import RunFolder

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, dict[str, torch.Tensor]]:
    """Return a run's folder, its learner, and the weights before the first update."""
    path = tmp_path_factory.mktemp("run") / "run"
    with closing(make(path, BREAKOUT, frames=512, checkpoint_every=256)) as loop:
        first = {name: tensor.clone() for name, tensor in loop.algorithm.network.state_dict().items()}
        assert loop.train()
    return path, loop.algorithm, first


@pytest.fixture(scope="module")
def observations() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 4, 84, 84), dtype=np.uint8)


def test_loaded_agent_is_the_trained_network(trained: Any, observations: np.ndarray) -> None:
    path, learner, _ = trained
    agent = hadamax.load(path)
    assert agent.frame == 512
    assert not agent.network.training
    expected = learner.q_values(torch.from_numpy(observations))
    assert torch.equal(agent.q_values(observations), expected)
    actions = agent.act(observations)
    assert actions.dtype == np.int64
    assert np.array_equal(actions, expected.argmax(1).numpy())
    assert hadamax.load(str(path), "256").frame == 256
    assert not torch.equal(hadamax.load(path, "256").q_values(observations), expected)


def test_untrained_agent_is_the_network_of_frame_0(trained: Any) -> None:
    path, _, first = trained
    agent = untrained(*RunFolder.open(path))
    assert agent.frame == 0
    for name, tensor in agent.network.state_dict().items():
        assert torch.equal(tensor, first[name]), name
    later = hadamax.load(path).network.state_dict()
    assert not torch.equal(later["head.weight"], first["head.weight"])


def test_loading_keeps_the_random_state(trained: Any) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    hadamax.load(trained[0])
    assert torch.equal(torch.rand(3), expected)


def test_arrays_and_tensors_of_any_layout_are_accepted(trained: Any, observations: np.ndarray) -> None:
    agent = hadamax.load(trained[0])
    expected = agent.act(observations)
    frozen = observations.copy()
    frozen.flags.writeable = False
    for given in (
        torch.from_numpy(observations),
        frozen,
        np.asfortranarray(observations),
        observations.tolist() and np.array(observations.tolist(), np.uint8),
    ):
        assert np.array_equal(agent.act(given), expected)
    assert np.array_equal(agent.act(observations[::-1]), expected[::-1])
    assert agent.act(observations[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (np.zeros((4, 84, 84), np.uint8), ValueError),
        (np.zeros((1, 3, 84, 84), np.uint8), ValueError),
        (np.zeros((1, 4, 80, 84), np.uint8), ValueError),
        (np.zeros((1, 84, 84, 4), np.uint8), ValueError),
        (np.zeros((1, 1, 4, 84, 84), np.uint8), ValueError),
        (np.uint8(3), ValueError),
        (np.zeros((1, 4, 84, 84), np.float32), TypeError),
        (np.zeros((1, 4, 84, 84), np.int64), TypeError),
        (np.zeros((1, 4, 84, 84), bool), TypeError),
        (np.zeros((1, 4, 84, 84), np.complex64), TypeError),
        (np.full((1, 4, 84, 84), "x"), TypeError),
        (np.full((1, 4, 84, 84), None), TypeError),
        (torch.zeros(1, 4, 84, 84, dtype=torch.int32), TypeError),
        (None, TypeError),
        ("observations", TypeError),
    ],
)
def test_wrong_observations_are_errors(trained: Any, given: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        hadamax.load(trained[0]).act(given)
    assert len(str(caught.value).splitlines()) == 1


def test_acts_greedily_by_default(trained: Any, observations: np.ndarray) -> None:
    agent = hadamax.load(trained[0])
    many = np.repeat(observations[:1], 400, axis=0)
    assert len(set(agent.act(many))) == 1
    generator = torch.Generator().manual_seed(0)
    counts = np.bincount(agent.act(many, 1.0, generator), minlength=4)
    assert stats.chisquare(counts).pvalue > 1e-3
    generator.manual_seed(0)
    repeated = np.bincount(agent.act(many, 1.0, generator), minlength=4)
    assert np.array_equal(counts, repeated)
    generator.manual_seed(0)
    greedy = int(agent.act(many[:1])[0])
    some = np.mean(agent.act(many, 0.2, generator) == greedy)
    assert 0.75 < some < 0.95  # 0.8 + 0.2 / 4


def test_damaged_checkpoint_warns_and_loads_the_one_before(tmp_path: Path) -> None:
    with closing(make(tmp_path / "run", CARTPOLE, frames=128, checkpoint_every=64)) as loop:
        assert loop.train()
    (checkpoint(tmp_path / "run", 128) / "state.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="000000128 cannot be used .*; trying the one before"):
        agent = hadamax.load(tmp_path / "run")
    assert agent.frame == 64
    assert agent.act(np.zeros((2, 4), np.float32)).shape == (2,)
    with pytest.raises(UserError, match="device: 'tpu' is not on this machine"):
        hadamax.load(tmp_path / "run", "64", device="tpu")
