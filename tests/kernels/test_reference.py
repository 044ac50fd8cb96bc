"""The reference block by hand, and the cases that only it computes."""

from __future__ import annotations

import math

import pytest
import torch

from hadamax.kernels import hadamax_block, implementation
from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.reference import ACTIVATIONS, reference_block


def test_block_by_hand() -> None:
    """Two channels per branch, two pixels: a norm over two channels gives -1 and 1."""
    first, second = [[1.0, 5.0], [3.0, 1.0]], [[0.0, 2.0], [8.0, 4.0]]  # [channel, pixel]
    x = torch.tensor([*first, *second], dtype=torch.float64).reshape(1, 4, 1, 2)
    weight = torch.tensor([1.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    bias = torch.tensor([0.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    variant = BlockConfig(2, ("tanh", "identity"), "product", "channels", 0.0, None)
    y = reference_block(x, weight, bias, variant)
    wanted = [
        [math.tanh(-1) * -1, math.tanh(1) * -1],
        [math.tanh(2.5) * 1, math.tanh(-1.5) * 1],
    ]
    torch.testing.assert_close(y, torch.tensor(wanted, dtype=torch.float64).reshape(1, 2, 1, 2))


def test_pool_pads_with_minus_infinity_and_drops_an_incomplete_window() -> None:
    x = -torch.arange(1.0, 26.0).reshape(1, 1, 5, 5)
    variant = BlockConfig(1, ("identity",), "product", None, 0.0, (2, 2, 1, 0))
    wanted = [[-1.0, -2.0, -4.0], [-6.0, -7.0, -9.0], [-16.0, -17.0, -19.0]]
    assert reference_block(x, None, None, variant)[0, 0].tolist() == wanted
    variant = variant._replace(pool=(2, 2, 0, 0))
    assert reference_block(x, None, None, variant)[0, 0].tolist() == [[-1.0, -3.0], [-11.0, -13.0]]


def test_map_norm_has_one_mean_per_branch_and_one_scale_per_channel() -> None:
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    variant = BlockConfig(2, ("identity", "identity"), "sum", "map", 1e-5, None)
    y = reference_block(x, torch.tensor([2.0] * 3 + [0.0] * 3).double(), None, variant)
    branch = x[:, :3].flatten(1)
    normal = (branch - branch.mean(1, keepdim=True)) / (branch.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(y, 2 * normal.reshape(2, 3, 3, 4))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("norm", ["channels", "map", None])
def test_gradients_of_the_reference(name: str, norm: str | None) -> None:
    torch.manual_seed(0)
    variant = BlockConfig(2, (name, "tanh"), "product", norm, 1e-5, (2, 2, 0, 1))
    x = torch.randn(1, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    affine = [torch.rand(6, dtype=torch.float64, requires_grad=True) for _ in range(2)] if norm else [None, None]
    assert torch.autograd.gradcheck(lambda x, w, b: reference_block(x, w, b, variant), (x, *affine))


@pytest.mark.parametrize(
    ("settings", "dtype", "reason"),
    [
        ({"norm": "map"}, torch.float32, "a norm over the whole map"),
        ({"activations": ("selu", "tanh")}, torch.float32, "activation selu"),
        ({"branches": 4, "activations": ("tanh",) * 4}, torch.float32, "more than 3 branches"),
        ({"pool": (17, 17, 0, 0)}, torch.float32, "wider than 16"),
        ({"pool": (2, 2, 0, 2)}, torch.float32, "padding only"),
        ({}, torch.float64, "torch.float64 is neither"),
        ({}, torch.float16, "torch.float16 is neither"),
    ],
)
def test_unsupported_settings_use_the_reference(settings: dict, dtype: torch.dtype, reason: str) -> None:
    variant = BlockConfig(2, ("tanh", "tanh"), "product", "channels", 1e-5, (2, 2, 0, 0))._replace(**settings)
    x = torch.randn(2, 12, 17, 17).to(dtype)
    wanted = reference_block(x, None, None, variant)
    assert torch.equal(hadamax_block(x, None, None, **variant._asdict()), wanted)
    question = {name: value for name, value in variant._asdict().items() if name != "eps"}
    served = implementation(**question, dtype=dtype)
    assert served.name == "reference"
    assert reason in served.reason


def test_environment_variable_forces_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    question = {"branches": 1, "activations": ("relu",), "combine": "product", "norm": None, "pool": None}
    monkeypatch.setenv("HADAMAX_KERNELS", "reference")
    assert implementation(**question) == ("reference", "HADAMAX_KERNELS=reference")
    monkeypatch.setenv("HADAMAX_KERNELS", "fast")
    with pytest.raises(ValueError, match="HADAMAX_KERNELS: 'fast' is unknown; expected one of auto, native, reference"):
        implementation(**question)
