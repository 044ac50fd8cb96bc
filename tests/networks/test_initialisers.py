"""Initialisers per branch."""

import math

import pytest
import torch
from torch import nn

from hadamax.networks import HadamardConv2d, HadamardLinear
from hadamax.networks.initialisers import INITIALISERS, Orthogonal

FAN_IN, FAN_OUT = 300, 500
VARIANCES = {
    "lecun_normal": 1 / FAN_IN,
    "he_normal": 2 / FAN_IN,
    "xavier_normal": 2 / (FAN_IN + FAN_OUT),
    "torch": 1 / (3 * FAN_IN),
}


@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("name", VARIANCES)
def test_variance_has_the_fans_of_one_branch(name: str, branches: int) -> None:
    torch.manual_seed(1)
    layer = HadamardLinear(FAN_IN, FAN_OUT, branches=branches, initialiser=name)
    assert layer.weight.var().item() == pytest.approx(VARIANCES[name], rel=0.02)
    assert abs(layer.weight.mean().item()) < 5 * math.sqrt(VARIANCES[name] / layer.weight.numel())


def test_convolution_fans_count_the_kernel() -> None:
    torch.manual_seed(1)
    layer = HadamardConv2d(16, 64, (3, 5), initialiser="xavier_normal")
    assert layer.weight.var().item() == pytest.approx(2 / (15 * (16 + 64)), rel=0.03)


@pytest.mark.parametrize("name", ["lecun_normal", "he_normal", "xavier_normal"])
def test_truncated_normals_end_at_two_standard_deviations(name: str) -> None:
    torch.manual_seed(1)
    layer = HadamardLinear(FAN_IN, FAN_OUT, initialiser=name)
    cut = 2 * math.sqrt(VARIANCES[name]) / 0.87962566103423978
    assert 0.999 * cut < layer.weight.abs().max().item() <= cut * (1 + 1e-6)
    assert layer.bias is not None
    assert not layer.bias.any()


def test_torch_default_equals_two_linear_layers() -> None:
    torch.manual_seed(3)
    pair = [nn.Linear(7, 5), nn.Linear(7, 5)]
    torch.manual_seed(3)
    merged = HadamardLinear(7, 5)
    assert torch.equal(merged.weight, torch.cat([layer.weight for layer in pair]))
    assert merged.bias is not None
    assert torch.equal(merged.bias, torch.cat([layer.bias for layer in pair]))


def test_torch_default_equals_two_convolutions() -> None:
    torch.manual_seed(3)
    pair = [nn.Conv2d(3, 5, 4), nn.Conv2d(3, 5, 4)]
    torch.manual_seed(3)
    merged = HadamardConv2d(3, 5, 4)
    assert torch.equal(merged.weight, torch.cat([layer.weight for layer in pair]))


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_orthogonal_in_each_branch(gain: float) -> None:
    layer = HadamardLinear(9, 6, branches=2, initialiser=Orthogonal(gain))
    for weight in layer.weight.chunk(2):
        torch.testing.assert_close(weight @ weight.T, gain**2 * torch.eye(6), atol=1e-6, rtol=0)


def test_orthogonal_by_name_has_gain_root_two() -> None:
    assert INITIALISERS["orthogonal"] == Orthogonal(math.sqrt(2))


def test_branches_start_with_different_weights() -> None:
    first, second = HadamardLinear(9, 6).weight.chunk(2)
    assert not torch.equal(first, second)


def test_unknown_initialiser_is_an_error() -> None:
    with pytest.raises(ValueError, match=r'initialiser "he" is unknown; .*expected one of torch, lecun_normal'):
        HadamardLinear(9, 6, initialiser="he")
    with pytest.raises(TypeError, match="initialiser must be a name"):
        HadamardLinear(9, 6, initialiser=None)  # type: ignore[arg-type]
