"""Student's interval of a mean: what stands behind every ± of a score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def ci95_half_width(values: ArrayLike) -> Any:
    """Half of the 95% interval of the mean over the first axis, [n, ...] -> [...]; NaN of fewer than two."""
    from scipy import stats  # a second that playing does not need

    values = np.asarray(values, np.float64)
    n = len(values)
    if n < 2:
        return np.full(values.shape[1:], np.nan)[()]
    return stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
