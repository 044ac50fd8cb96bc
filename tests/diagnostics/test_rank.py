"""Ranks against the published function and hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hadamax.diagnostics import effective_rank, singular_values, stable_rank
from hadamax.diagnostics import rank as ranks


def published(matrix: Tensor, delta: float = 0.01) -> int:
    """Return the first k whose sum reaches 1 - delta of the nuclear norm, by counting."""
    values = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    total = values.sum()
    return next(k for k in range(1, len(values) + 1) if values[:k].sum() >= (1.0 - delta) * total)


def with_spectrum(values: list[float], samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    d = len(values)
    left = torch.linalg.qr(torch.randn(samples, d, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    return left * torch.tensor(values, dtype=torch.float64) @ right.T


def gaussian(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


MATRICES = {
    "random": gaussian(300, 40),
    "wide": gaussian(20, 200),
    "square": gaussian(64, 64),
    "two by two": gaussian(2, 2),
    "low rank": gaussian(400, 3) @ gaussian(3, 64, 1),
    "low rank and noise": gaussian(400, 3) @ gaussian(3, 64, 1) + 1e-3 * gaussian(400, 64, 2),
    "relu": gaussian(256, 32).relu(),
    "tanh of large": (10 * gaussian(256, 32)).tanh(),
    "constant": torch.full((100, 16), 0.7),
    "constant columns": torch.arange(16.0).expand(100, 16).contiguous(),
    "one live unit": torch.zeros(100, 16).index_fill_(1, torch.tensor([3]), 1.0),
    "ill conditioned": with_spectrum([7.0**-k for k in range(20)], 50),  # with tens, deltas would coincide with sums
    "geometric": with_spectrum([0.9**k for k in range(60)], 100),
    "bfloat16": gaussian(200, 30).bfloat16(),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("delta", [0.01, 0.1, 0.5, 1e-4])
def test_effective_rank_equals_the_published_function(name: str, delta: float) -> None:
    assert effective_rank(MATRICES[name], delta) == published(MATRICES[name].float(), delta)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1e30, 1e160, 1e300])
def test_rank_ignores_scale(scale: float) -> None:
    """Squares of these values would underflow or overflow."""
    for name in ("random", "low rank and noise", "geometric", "constant"):
        matrix = MATRICES[name].double()
        assert effective_rank(matrix * scale) == published(matrix)
        assert stable_rank(matrix * scale) == pytest.approx(stable_rank(matrix))
        expected = np.linalg.svd(matrix.numpy(), compute_uv=False) * scale
        assert singular_values(matrix * scale).numpy() == pytest.approx(expected, rel=1e-6, abs=1e-12 * expected[0])


def test_ranks_by_hand() -> None:
    matrix = torch.diag(torch.tensor([10.0, 5.0, 0.1, 0.01, 0.001]))
    assert effective_rank(matrix) == 2
    assert effective_rank(matrix, delta=0.4) == 1
    assert effective_rank(matrix, delta=1e-3) == 3
    assert stable_rank(matrix) == pytest.approx((100 + 25 + 0.01 + 0.0001 + 0.000001) / 100)
    assert singular_values(matrix).tolist() == pytest.approx([10.0, 5.0, 0.1, 0.01, 0.001])
    assert effective_rank(torch.zeros(5, 3)) == 1  # as in the published function
    assert stable_rank(torch.ones(7, 3)) == pytest.approx(1)


@pytest.mark.parametrize("gap", [0.0, 1e-15, 1e-12, 1e-9, -1e-9])
def test_rank_close_to_the_threshold(gap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums too close to 0.99 for squared values are decided by the singular values."""
    asked = []
    svdvals = torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda matrix: asked.append(1) or svdvals(matrix))
    matrix = torch.diag(torch.tensor([0.9, 0.09 + gap, 0.01 - gap], dtype=torch.float64))
    rank = effective_rank(matrix)
    if gap:
        assert rank == (2 if gap > 0 else 3)
    assert rank == published(matrix)
    assert len(asked) == (abs(gap) < 1e-13)
    effective_rank(MATRICES["geometric"])
    assert len(asked) == (abs(gap) < 1e-13), "elsewhere the squares are enough"


def test_error_of_squared_spectra_is_below_the_margin() -> None:
    """Where the squared spectrum is used, its sums are accurate to a fraction of the margin."""
    matrix = with_spectrum([10.0 ** (-k / 8) for k in range(100)], 300)
    exact = torch.linalg.svdvals(matrix)
    squares = ranks._gram_eigenvalues(matrix).clamp(min=0).sqrt()
    error = 4 * 300 * ranks.EPSILON * float(exact[0]) ** 2
    bound = torch.minimum(torch.full_like(exact, error**0.5), error / squares.clamp(min=1e-300))
    assert ((squares - exact).abs() <= bound).all()


@pytest.mark.parametrize("measure", [effective_rank, stable_rank, singular_values])
@pytest.mark.parametrize(
    ("given", "line"),
    [
        (torch.full((4, 3), torch.nan), "features contains a value that is not finite"),
        (torch.tensor([[1.0, torch.inf], [1.0, 2.0]]), "features contains a value that is not finite"),
        (torch.ones(1, 3), "features has 1 samples; expected 2 or more"),
        (torch.ones(4, 1), "features has 1 units; expected 2 or more"),
        (torch.ones(0, 0), "features has 0 samples; expected 2 or more"),
        (torch.ones(4), r"features must be \[samples, units\], got \[4\]"),
        (torch.ones(2, 3, 4), r"features must be \[samples, units\], got \[2, 3, 4\]"),
    ],
)
def test_invalid_inputs_raise_one_line(measure: object, given: Tensor, line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        measure(given)  # type: ignore[operator]


def test_invalid_options_raise_one_line() -> None:
    with pytest.raises(TypeError, match="features must be a tensor"):
        effective_rank([[1.0, 2.0]])  # type: ignore[arg-type]
    for delta in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="delta"):
            effective_rank(torch.ones(4, 3), delta)
    with pytest.raises(ValueError, match="all zero"):
        stable_rank(torch.zeros(4, 3))
