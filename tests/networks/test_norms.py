"""Norms: axes, scales, gradients, errors."""

import pytest
import torch
from torch import Tensor

from hadamax.networks.norms import NORMS, Norm, make_norm


def by_hand(branch: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    mean = branch.mean(dims, keepdim=True)
    variance = (branch - mean).square().mean(dims, keepdim=True)
    return (branch - mean) / (variance + eps).sqrt()


def maps(branches: int) -> Tensor:
    """Return [N, H, W, branches * C] with a different scale per branch, so that mixed branches are detected."""
    torch.manual_seed(0)
    return torch.cat([torch.randn(2, 4, 3, 5).double() * 10**b + b for b in range(branches)], dim=-1)


@pytest.mark.parametrize("branches", [1, 2, 3])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("over", "dims"), [("channels", (-1,)), ("map", (1, 2, 3))])
def test_axes_and_scale_of_maps(over: str, dims: tuple[int, ...], affine: bool, branches: int) -> None:
    merged = maps(branches)
    norm = make_norm(Norm(over, affine, eps=0.1), branches, 5, spatial=True).double()
    scale, shift = torch.ones(branches, 5).double(), torch.zeros(branches, 5).double()
    if affine:
        scale, shift = torch.randn(2, branches, 5).double().unbind()
        norm.load_state_dict({"weight": scale, "bias": shift})
    got = norm(merged)
    assert len(got) == branches
    for index, branch in enumerate(merged.chunk(branches, dim=-1)):
        expected = by_hand(branch, dims, eps=0.1) * scale[index] + shift[index]
        torch.testing.assert_close(got[index], expected)


@pytest.mark.parametrize("name", NORMS)
def test_vectors_are_normalised_over_their_features(name: str) -> None:
    merged = torch.randn(4, 6).double()
    got = make_norm(name, 2, 3, spatial=False).double()(merged)
    for index in range(2):
        branch = merged[:, 3 * index : 3 * index + 3]
        torch.testing.assert_close(got[index], by_hand(branch, (-1,), NORMS[name].eps))


def test_published_norms() -> None:
    assert {"channels": Norm("channels", True, 1e-6), "map": Norm("map", False, 1e-5)} == NORMS
    assert sum(p.numel() for p in make_norm("channels", 2, 5, spatial=True).parameters()) == 20
    assert sum(p.numel() for p in make_norm("map", 2, 5, spatial=True).parameters()) == 0


def test_no_norm_only_splits_branches() -> None:
    first, second = make_norm(None, 2, 3, spatial=False)(torch.arange(6.0))
    assert first.tolist() == [0, 1, 2]
    assert second.tolist() == [3, 4, 5]


@pytest.mark.parametrize("norm", ["channels", "map", Norm("map", True, 1e-5), Norm("channels", False, 1e-5)])
def test_autocast_keeps_affine_parameters_in_float32(norm: str | Norm) -> None:
    module = make_norm(norm, 2, 5, spatial=True)
    merged = maps(2).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, second = module(merged)
    assert first.dtype == second.dtype == torch.bfloat16
    (first.float().sum() + second.float().square().sum()).backward()
    for parameter in module.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32


def test_gradient_equals_the_formula() -> None:
    merged = maps(2).requires_grad_()
    for norm in (Norm("channels", True, 0.1), Norm("map", False, 0.1)):
        module = make_norm(norm, 2, 5, spatial=True).double()
        assert torch.autograd.gradcheck(lambda x, module=module: module(x), (merged,), fast_mode=True)


@pytest.mark.parametrize(
    ("norm", "error", "message"),
    [
        ("chanels", ValueError, 'norm "chanels" is unknown; did you mean "channels"? expected one of channels, map'),
        (5, TypeError, "norm must be a name"),
        (True, TypeError, "norm must be a name"),
    ],
)
def test_invalid_settings_are_errors(norm: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as refusal:
        make_norm(norm, 2, 3, spatial=True)  # type: ignore[arg-type]
    assert message in str(refusal.value)


def test_invalid_norm_specs_are_errors() -> None:
    with pytest.raises(ValueError, match='norm over "batch" is unknown'):
        Norm("batch", True, 1e-5)
    with pytest.raises(ValueError, match="norm eps must be a finite number above 0, not 0"):
        Norm("map", True, 0.0)
