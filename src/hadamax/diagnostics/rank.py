"""How many directions a representation uses: effective rank, stable rank, and the spectrum behind both."""

from __future__ import annotations

import torch
from torch import Tensor

from hadamax.diagnostics.checks import between, checked

EPSILON = torch.finfo(torch.float64).eps


def singular_values(features: Tensor) -> Tensor:
    """The singular values of features [N, d], largest first: [min(N, d)] float64 on the CPU.

    Raises:
        ValueError: not [N, d], fewer than 2 samples or units, or NaN.
    """
    matrix, scale = _scaled(features)
    return scale * _singular_values(matrix)


def effective_rank(features: Tensor, delta: float = 0.01) -> int:
    """srank_delta: the fewest singular values that hold at least 1 - delta of the sum of all.

    Kumar et al. 2021 (arXiv 2010.14498); HR appendix B.2 (arXiv 2406.09079), delta 0.01. Features are not centred.
    All zeros have rank 1, as the published function says.

    Args:
        features: [N, d]; the rank is at most min(N, d), so compare ranks of one N only.

    Raises:
        ValueError: not [N, d], fewer than 2 samples or units, NaN, or delta out of (0, 1).
    """
    between("delta", delta, 0, 1)
    matrix, _ = _scaled(features)
    squares = _gram_eigenvalues(matrix)
    values = squares.clamp(min=0).sqrt()
    rank, margin = _rank(values, delta)
    # Rounding moves an eigenvalue of the Gram matrix by up to `error`, so a singular value by the smaller of these.
    error = 4 * max(matrix.shape) * EPSILON * float(values[0]) ** 2
    doubt = torch.minimum(torch.full_like(values, error**0.5), error / values.clamp(min=EPSILON)).sum()
    if margin > 2 * float(doubt):
        return rank
    return _rank(_singular_values(matrix), delta)[0]  # too close to tell from the squares


def stable_rank(features: Tensor) -> float:
    """Squared Frobenius norm over squared spectral norm: between 1 and the rank, and smooth where that jumps.

    Rudelson and Vershynin 2007 (arXiv math/0503442).

    Raises:
        ValueError: not [N, d], fewer than 2 samples or units, NaN, or nothing but zeros.
    """
    matrix, scale = _scaled(features)
    if scale == 0:
        raise ValueError("features are all zero, so their stable rank is not defined")
    squares = _gram_eigenvalues(matrix)
    return float(squares.sum() / squares[0])


def _scaled(features: Tensor) -> tuple[Tensor, float]:
    """The matrix in float64 with a largest entry of 1, and what it was divided by: squares neither over- nor underflow.

    All zeros stay as they are, with a scale of 0.
    """
    matrix = checked("features", features, samples=2, units=2).double()
    scale = float(matrix.abs().max())
    return (matrix / scale, scale) if scale > 0 else (matrix, 0.0)


def _singular_values(matrix: Tensor) -> Tensor:
    """On the CPU, largest first; of a triangle with the same ones where that is much smaller: twice as quick."""
    tall = matrix.cpu() if matrix.shape[0] >= matrix.shape[1] else matrix.cpu().T
    if tall.shape[0] > 2 * tall.shape[1]:
        tall = torch.linalg.qr(tall, mode="r").R
    values: Tensor = torch.linalg.svdvals(tall)
    return values


def _gram_eigenvalues(matrix: Tensor) -> Tensor:
    """The squared singular values, largest first, on the CPU: several times quicker than the singular values."""
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    squares: Tensor = torch.linalg.eigvalsh(gram.cpu())
    return squares.flip(0)


def _rank(values: Tensor, delta: float) -> tuple[int, float]:
    """The published rule on singular values; and how far the sum is from one that gives another rank."""
    sums = values.cumsum(0)
    beyond = sums - (1.0 - delta) * values.sum()
    rank = int((beyond < 0).sum()) + 1
    return rank, float(beyond.abs().min())
