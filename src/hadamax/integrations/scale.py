"""Check of `input_scale` against the values of images, since a wrong scale silently degrades learning."""

from __future__ import annotations

import torch
from torch import Tensor


def check_scale(low: float, high: float, scale: float, convention: str) -> None:
    """Raise ValueError, quoting the framework's `convention`, if `scale` cannot be right for these values."""
    if low >= 0 and high <= scale and (scale <= 1 or high > 1):
        return
    raise ValueError(
        f"images arrive with values from {low:.4g} to {high:.4g} and input_scale is {scale:g}: {convention}"
    )


class ScaleCheck:
    """Check of the first images that are not black against `scale`; later images are not checked."""

    def __init__(self, scale: float, convention: str) -> None:
        self.scale, self.convention, self.done = scale, convention, False

    def __call__(self, images: Tensor) -> None:
        if self.done or not images.numel() or torch.compiler.is_compiling():
            return
        low, high = float(images.min()), float(images.max())
        if low == high == 0:
            return
        check_scale(low, high, self.scale, self.convention)
        self.done = True
