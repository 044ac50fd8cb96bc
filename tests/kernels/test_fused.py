"""The compiled block against the reference in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.kernels.blocks import (
    DTYPES,
    HADAMAX,
    KINDS,
    POOLS,
    Case,
    Kind,
    agree,
    call,
    exact,
    fused,
    random_case,
    without_near_ties,
)

from hadamax.kernels import hadamax_block

pytestmark = pytest.mark.usefixtures("kernel")

channels = st.integers(1, 40) | st.sampled_from([64, 70])
sizes = st.integers(4, 19)


@settings(derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    pool=st.sampled_from(POOLS),
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 3), channels, sizes, sizes),
    affine=st.booleans(),
    threads=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_equals_the_reference(
    kind: Kind,
    pool,
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
    affine: bool,
    threads: int,
    seed: int,
) -> None:
    assume(kind.norm is None or shape[1] > 1)  # a norm of a single channel gives zero
    torch.set_num_threads(threads)
    case = random_case(kind.variant(pool, eps=1e-3), shape, dtype, affine=affine, seed=seed)
    precise = dtype == torch.float32
    case = without_near_ties(case, 1e-5 if precise else 1e-3)
    agree(fused(case), exact(case), 1e-5 if precise else 2**-8)


@pytest.mark.parametrize("unrolled", [16, 32])
@pytest.mark.parametrize("pool", [(4, 4, 0, 0), (3, 1, 1, 1), None])
def test_libraries_for_a_fixed_channel_count(unrolled: int, pool) -> None:
    case = random_case(HADAMAX.variant(pool), (3, unrolled, 21, 18), torch.float32, affine=True, seed=0)
    case = without_near_ties(case, 1e-5)
    agree(fused(case), exact(case), 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pool", [(2, 2, 0, 0), (3, 1, 1, 1)])
def test_first_of_equal_maxima_gets_the_gradient(pool, dtype: torch.dtype) -> None:
    """Pixels come from two distinct values: most windows have ties."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 2 * 20, generator=random).to(dtype)
    x = pixels[torch.randint(2, (3, 9, 8), generator=random)].permute(0, 3, 1, 2)
    variant = HADAMAX.variant(pool)
    y = call(x, None, None, variant)
    case = Case(variant, x, None, None, torch.randn(y.shape, generator=random).to(dtype))
    agree(fused(case), exact(case), 1e-5 if dtype == torch.float32 else 2**-8)


def test_equal_negative_pixels() -> None:
    """A product of a large positive and a small negative value: every maximum is below zero."""
    variant = Kind(("gelu_tanh", "gelu_tanh"), "product", "channels").variant((2, 2, 0, 1))
    weight, bias = torch.zeros(6), torch.tensor([2.0, 2.0, 2.0, -0.5, -0.5, -0.5])
    case = Case(variant, torch.ones(1, 6, 3, 3), weight, bias, torch.ones(1, 3, 2, 2))
    answer = fused(case)
    assert bool((answer.y < 0).all())
    agree(answer, exact(case), 1e-5)


@pytest.mark.parametrize("offset", [0.0, 30.0, -1000.0])
def test_mean_far_from_zero(offset: float) -> None:
    """The variance stays accurate; the remaining error is the rounding of the mean."""
    case = random_case(HADAMAX.variant((4, 4, 0, 0)), (2, 20, 8, 8), torch.float32, affine=True, seed=1)
    case = without_near_ties(case._replace(x=case.x + offset), 1e-3)
    agree(fused(case), exact(case), 1e-5 + 1e-6 * abs(offset))


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e12])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_of_the_input(scale: float, dtype: torch.dtype) -> None:
    case = random_case(HADAMAX.variant((2, 2, 0, 0)), (2, 20, 6, 6), torch.float32, affine=True, seed=2)
    case = case._replace(x=(case.x * scale).to(dtype), gradient=case.gradient.to(dtype))
    case = without_near_ties(case, 1e-3)
    agree(fused(case), exact(case), 1e-5 if dtype == torch.float32 else 2**-8)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_pixels_have_no_variance(kind: Kind) -> None:
    """The mean's rounding error is divided by the root of epsilon: here 3 / 0.001 * 2^-23."""
    x = torch.full((1, 20 * len(kind.activations), 4, 4), 3.0)
    y = call(x, None, None, kind.variant(None))
    wanted = exact(Case(kind.variant(None), x, None, None, torch.ones_like(y))).y
    torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=4e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_large_values_do_not_overflow(kind: Kind) -> None:
    """Where an exponential overflows, the activation gives its limit, not NaN."""
    x = torch.tensor([0.0, -0.0, 1e-30, 5.0, -5.0, 30.0, -30.0, 200.0, -200.0, 1e4, -1e4, 1e9, -1e9])
    branches = len(kind.activations)
    grid = torch.cartesian_prod(*[x] * branches).reshape(-1, branches).T.reshape(1, branches, -1, 1)
    case = Case(kind.variant(None)._replace(norm=None), grid, None, None, torch.ones(1, 1, grid.shape[2], 1))
    found, wanted = fused(case), exact(case)
    scale = grid.double().abs().clamp(min=1).prod(1)  # relative to the product: a branch near zero is accurate to 1e-7
    for ours, theirs in ((found.y, wanted.y), (found.to_x, wanted.to_x)):
        assert ours.isfinite().all()
        assert bool(((ours - theirs).abs() <= 1e-6 * scale).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_propagates(value: float, pool, dtype: torch.dtype) -> None:
    """One bad element makes its pixel and all windows with that pixel NaN, and nothing else."""
    case = random_case(HADAMAX.variant(pool), (1, 20, 9, 9), dtype, affine=True, seed=3)
    case.x[0, 7, 4, 4] = value
    found, wanted = fused(case), exact(case)
    assert torch.equal(found.y.isnan(), wanted.y.isnan())
    assert found.y.isnan().any()
    assert torch.equal(found.to_x.isnan(), wanted.to_x.isnan())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.norm is None])
def test_infinity_without_a_norm(kind: Kind) -> None:
    case = random_case(kind.variant((2, 2, 0, 0)), (1, 20, 8, 8), torch.float32, affine=False, seed=4)
    case.x[0, 3, 2, 2], case.x[0, 25, 5, 5] = float("inf"), float("-inf")
    found, wanted = fused(case), exact(case)
    torch.testing.assert_close(found.y.double(), wanted.y, rtol=1e-5, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(found.to_x.double(), wanted.to_x, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(("window", "pad"), [(1, 0), (2, 0), (2, 1), (3, 1), (4, 0), (4, 2)])
@pytest.mark.parametrize("channels", [32, 20])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pool_equals_pytorch_including_ties_and_nan(window: int, pad: int, channels: int, dtype: torch.dtype) -> None:
    """One identity branch with ties, NaN and infinities, whole and clipped windows, and the gradient."""
    generator = torch.Generator().manual_seed(window)
    x = torch.randint(-3, 4, (2, channels, 14, 15), generator=generator).to(dtype)
    for value, part in ((float("nan"), 0.03), (float("inf"), 0.03), (float("-inf"), 0.5)):
        x[torch.rand(x.shape, generator=generator) < part] = value
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    kind = {"branches": 1, "activations": ("identity",), "combine": "product", "norm": None, "eps": 1e-6}
    y = hadamax_block(x, None, None, **kind, pool=(window, window, pad, pad))
    expected = torch.nn.functional.max_pool2d(x, window, padding=pad)
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)
    gradient = torch.randn(y.shape, generator=generator).to(dtype)
    found, wanted = (torch.autograd.grad(z, x, gradient, retain_graph=True)[0] for z in (y, expected))
    assert torch.equal(found, wanted)
