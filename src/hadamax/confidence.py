"""Student's confidence interval of a mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def ci95_half_width(values: ArrayLike) -> Any:
    """Return half of the 95% interval of the mean over the first axis, [n, ...] -> [...]; NaN for fewer than two."""
    from scipy import stats  # slow to import

    values = np.asarray(values, np.float64)
    n = len(values)
    if n < 2:
        return np.full(values.shape[1:], np.nan)[()]
    return stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
