"""The Triton kernels against the reference in float64, on a GPU or in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.kernels.blocks import (
    DTYPES,
    HADAMAX,
    KINDS,
    POOLS,
    Answer,
    Case,
    Kind,
    agree,
    exact,
    random_case,
    without_near_ties,
)

from hadamax.kernels import cuda, implementation
from hadamax.kernels.block_config import BlockConfig

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # numpy warns of intended overflows
    pytest.mark.end_to_end,
]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter truncates to bfloat16; a GPU rounds.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-8 if DEVICE == "cuda" else 2**-7}


def launched(case: Case) -> Answer:
    """Run the kernels on a case; memory that they do not write is NaN."""
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    try:
        return _launched(case)
    finally:
        torch.use_deterministic_algorithms(False)


def _launched(case: Case) -> Answer:
    x, weight, bias, gradient = (None if t is None else t.to(DEVICE) for t in case[1:])
    y, positions = cuda.forward(x, weight, bias, case.variant)
    to_x, to_weight, to_bias = cuda.backward(gradient, x, weight, bias, positions, case.variant)
    answer = (y, to_x, None if weight is None else to_weight, None if bias is None else to_bias)
    return Answer(*(None if t is None else t.cpu() for t in answer))  # type: ignore[arg-type]


# Full and partial tiles, several tiles, more programs than outputs.
@settings(derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    pool=st.sampled_from(POOLS),
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(
        st.integers(1, 2), st.integers(1, 9) | st.sampled_from([16, 33]), st.integers(4, 9), st.integers(4, 9)
    ),
    affine=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_the_reference(
    kind: Kind, pool, dtype: torch.dtype, shape: tuple[int, int, int, int], affine: bool, seed: int
) -> None:
    assume(kind.norm is None or shape[1] > 1)  # a norm of a single channel gives zero
    case = random_case(kind.variant(pool, eps=1e-3), shape, dtype, affine=affine, seed=seed)
    case = without_near_ties(case, 1e-5 if dtype == torch.float32 else 1e-3)
    agree(launched(case), exact(case), TOLERANCE[dtype])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", [(2, 2, 0, 1), (3, 1, 1, 1)])
def test_every_variant(kind: Kind, pool) -> None:
    case = random_case(kind.variant(pool), (2, 5, 5, 6), torch.float32, affine=True, seed=0)
    case = without_near_ties(case, 1e-5)
    agree(launched(case), exact(case), 1e-5)


@pytest.mark.parametrize("given", ["weight", "bias"])
def test_weight_without_bias_and_bias_without_weight(given: str) -> None:
    case = random_case(HADAMAX.variant((2, 2, 0, 0)), (1, 6, 4, 4), torch.float32, affine=True, seed=1)
    case = without_near_ties(case._replace(**{given: None}), 1e-5)
    agree(launched(case), exact(case), 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pool", [(2, 2, 0, 0), (3, 1, 1, 1)])
def test_first_of_equal_maxima_gets_the_gradient(pool, dtype: torch.dtype) -> None:
    """Pixels come from two distinct values: most windows have ties."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 2 * 7, generator=random).to(dtype)
    x = pixels[torch.randint(2, (2, 5, 6), generator=random)].permute(0, 3, 1, 2)
    variant = HADAMAX.variant(pool)
    shape = (2, 7, variant.pooled(5), variant.pooled(6))
    case = Case(variant, x, None, None, torch.randn(shape, generator=random).to(dtype))
    agree(launched(case), exact(case), TOLERANCE[dtype])


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_of_the_input(scale: float, dtype: torch.dtype) -> None:
    case = random_case(HADAMAX.variant((2, 2, 0, 0)), (1, 9, 4, 4), torch.float32, affine=True, seed=2)
    case = case._replace(x=(case.x * scale).to(dtype), gradient=case.gradient.to(dtype))
    case = without_near_ties(case, 1e-3)
    agree(launched(case), exact(case), TOLERANCE[dtype])


@pytest.mark.parametrize("kind", KINDS)
def test_large_values_do_not_overflow(kind: Kind) -> None:
    """Where an exponential overflows, the activation gives its limit, not NaN."""
    x = torch.tensor([0.0, -0.0, 1e-30, 5.0, -5.0, 30.0, -200.0, 1e4, 1e9, -1e9])
    branches = len(kind.activations)
    x = x[::3] if branches == 3 else x
    grid = torch.cartesian_prod(*[x] * branches).reshape(-1, branches).T.reshape(1, branches, -1, 1)
    case = Case(kind.variant(None)._replace(norm=None), grid, None, None, torch.ones(1, 1, grid.shape[2], 1))
    found, wanted = launched(case), exact(case)
    scale = grid.double().abs().clamp(min=1).prod(1)  # relative to the product: a branch near zero is accurate to 1e-7
    for ours, theirs in ((found.y, wanted.y), (found.to_x, wanted.to_x)):
        assert ours.isfinite().all()
        assert bool(((ours - theirs).abs() <= 1e-6 * scale).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("pool", [None, (2, 2, 0, 1), (3, 1, 1, 1), (4, 4, 1, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_propagates(value: float, pool, dtype: torch.dtype) -> None:
    """One bad element makes its pixel and all windows with that pixel NaN, and nothing else."""
    case = random_case(HADAMAX.variant(pool), (1, 5, 6, 6), dtype, affine=True, seed=3)
    case.x[0, 3, 3, 3] = value
    found, wanted = launched(case), exact(case)
    assert torch.equal(found.y.isnan(), wanted.y.isnan())
    assert found.y.isnan().any()
    assert torch.equal(found.to_x.isnan(), wanted.to_x.isnan())


@pytest.mark.parametrize("pool", [(2, 3, 0, 0), (3, 1, 1, 1)])
def test_repeats_bit_for_bit_with_more_tiles_than_programs(pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "MOST_PROGRAMS", 3)
    monkeypatch.setattr(cuda, "TILE", 64)
    case = random_case(HADAMAX.variant(pool), (2, 6, 7, 7), torch.float32, affine=True, seed=5)
    case = without_near_ties(case, 1e-5)
    first, second = launched(case), launched(case)
    assert all(map(torch.equal, first, second))
    agree(first, exact(case), 1e-5)


@pytest.mark.parametrize("size", [5, 6, 7])
def test_pixels_outside_all_windows_have_no_gradient(size: int) -> None:
    """Windows of 2 every 3 pixels leave gaps, also (6, 7) behind the last window or not (5)."""
    case = random_case(HADAMAX.variant((2, 3, 0, 0)), (1, 4, size, size), torch.float32, affine=True, seed=7)
    answer = launched(case)
    assert not answer.to_x[:, :, 2].any()
    assert not answer.to_x[:, :, :, 2].any()
    agree(answer, exact(case), 1e-5)


def test_no_images() -> None:
    case = random_case(HADAMAX.variant((2, 2, 0, 1)), (1, 4, 6, 6), torch.float32, affine=True, seed=6)
    answer = launched(case._replace(x=case.x[:0], gradient=case.gradient[:0]))
    assert answer.y.shape == (0, 4, 3, 3)
    assert answer.to_x.shape == (0, 8, 6, 6)
    assert answer.to_weight is not None
    assert not answer.to_weight.any()


@pytest.mark.slow
def test_compiles_for_gpus_that_are_not_present(tmp_path: Path) -> None:
    """Three kernels to PTX, each for a variant of the papers, in a process without the interpreter."""
    script = Path(__file__).with_name("compile_ahead.py")
    environment = {"PATH": "/usr/bin:/bin", "TRITON_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    kernels = done.stdout.split()
    assert {name.split(":")[0] for name in kernels} == {"forward", "backward_windows", "backward_pixels"}


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a card")
def test_missing_gpu_is_the_reason() -> None:
    question = {name: value for name, value in HADAMAX.variant((2, 2, 0, 1))._asdict().items() if name != "eps"}
    assert implementation(**question, device="cuda") == ("reference", "there is no CUDA device")
    question["norm"] = "map"
    assert implementation(**question, device="cuda") == ("reference", "a norm over the whole map")
    assert cuda.obstacle(torch.float32, BlockConfig(1, ("relu",), "product", None, 0.0, None), 2000) is not None
