"""Number of directions that a representation uses: effective rank, stable rank, singular values."""

from __future__ import annotations

import torch
from torch import Tensor

from hadamax.diagnostics.checks import between, checked

EPSILON = torch.finfo(torch.float64).eps


def singular_values(features: Tensor) -> Tensor:
    """Compute the singular values of features [N, d], largest first: [min(N, d)] float64 on the CPU.

    Raises:
        ValueError: not [N, d], fewer than 2 samples or units, or NaN.
    """
    matrix, scale = _scaled(features)
    return scale * _singular_values(matrix)


def effective_rank(features: Tensor, delta: float = 0.01) -> int:
    """Compute srank_delta: the smallest number of singular values that sum to at least 1 - delta of the total.

    Kumar et al. 2021 (arXiv 2010.14498); HR appendix B.2 (arXiv 2406.09079), delta 0.01. Features are not centred.
    An all-zero matrix has rank 1, as the published formula gives.

    Args:
        features: [N, d]; the rank is at most min(N, d), so compare only ranks with the same N.

    Raises:
        ValueError: not [N, d], fewer than 2 samples or units, NaN, or delta outside (0, 1).
    """
    between("delta", delta, 0, 1)
    matrix, _ = _scaled(features)
    squares = _gram_eigenvalues(matrix)
    values = squares.clamp(min=0).sqrt()
    rank, margin = _rank(values, delta)
    # Rounding changes an eigenvalue of the Gram matrix by up to `error`, so a singular value by the smaller of these.
    error = 4 * max(matrix.shape) * EPSILON * float(values[0]) ** 2
    doubt = torch.minimum(torch.full_like(values, error**0.5), error / values.clamp(min=EPSILON)).sum()
    if margin > 2 * float(doubt):
        return rank
    return _rank(_singular_values(matrix), delta)[0]  # the squares are too inaccurate to decide


def stable_rank(features: Tensor) -> float:
    """Compute the squared Frobenius norm over the squared spectral norm: a smooth rank measure between 1 and the rank.

    Rudelson and Vershynin 2007 (arXiv math/0503442).

    Raises:
        ValueError: not [N, d], fewer than 2 samples or units, NaN, or all zeros.
    """
    matrix, scale = _scaled(features)
    if scale == 0:
        raise ValueError("features are all zero: their stable rank is undefined")
    squares = _gram_eigenvalues(matrix)
    return float(squares.sum() / squares[0])


def _scaled(features: Tensor) -> tuple[Tensor, float]:
    """Convert to float64 and scale to a largest entry of 1, against over- and underflow: return the matrix and scale.

    An all-zero matrix is returned unchanged, with a scale of 0.
    """
    matrix = checked("features", features, samples=2, units=2).double()
    scale = float(matrix.abs().max())
    return (matrix / scale, scale) if scale > 0 else (matrix, 0.0)


def _singular_values(matrix: Tensor) -> Tensor:
    """Compute singular values on the CPU, largest first; a QR decomposition first makes tall matrices twice as fast."""
    tall = matrix.cpu() if matrix.shape[0] >= matrix.shape[1] else matrix.cpu().T
    if tall.shape[0] > 2 * tall.shape[1]:
        tall = torch.linalg.qr(tall, mode="r").R
    values: Tensor = torch.linalg.svdvals(tall)
    return values


def _gram_eigenvalues(matrix: Tensor) -> Tensor:
    """Compute the squared singular values, largest first, on the CPU: several times faster than an SVD."""
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    squares: Tensor = torch.linalg.eigvalsh(gram.cpu())
    return squares.flip(0)


def _rank(values: Tensor, delta: float) -> tuple[int, float]:
    """Return the effective rank of singular values, and how close the sum is to a value that changes the rank."""
    sums = values.cumsum(0)
    beyond = sums - (1.0 - delta) * values.sum()
    rank = int((beyond < 0).sum()) + 1
    return rank, float(beyond.abs().min())
