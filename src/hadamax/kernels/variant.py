"""What a Hadamax block is: its settings, and the shapes that follow from them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

COMBINES = ("product", "sum")
NORMS = ("channels", "map", None)

Pool = tuple[int, int, int, int]


class Variant(NamedTuple):
    """The settings of a block, as `hadamax_block` takes them."""

    branches: int
    activations: tuple[str, ...]  # one a branch
    combine: str  # "product" or "sum"
    norm: str | None  # over "channels" at each pixel, over the whole "map", or none
    eps: float
    pool: Pool | None  # window, stride, padding before and after, both axes alike

    def pooled(self, size: int) -> int:
        """Outputs along an axis of `size` pixels."""
        if self.pool is None:
            return size
        window, stride, pad_low, pad_high = self.pool
        return (size + pad_low + pad_high - window) // stride + 1


def check(x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: Variant, known: frozenset[str]) -> None:
    """Refuse what is not a block, in words.

    Raises:
        ValueError: shapes or settings that do not fit together, or an activation that is not in `known`.
    """
    branches, activations, combine, norm, _, pool = variant
    if x.dim() != 4 or branches < 1 or x.shape[1] % branches:
        raise ValueError(f"x: wanted [N, {branches} * C, H, W], got {list(x.shape)}")
    if len(activations) != branches:
        raise ValueError(f"activations: wanted one for each of {branches} branches, got {activations}")
    for name in activations:
        if name not in known:
            raise ValueError(f"activation {name!r} is not known; valid: {', '.join(sorted(known))}")
    if combine not in COMBINES:
        raise ValueError(f"combine: {combine!r} is not known; valid: {', '.join(COMBINES)}")
    if norm not in NORMS:
        raise ValueError(f"norm: {norm!r} is not known; valid: 'channels', 'map' or None")
    for name, affine in (("weight", weight), ("bias", bias)):
        if affine is None:
            continue
        if norm is None:
            raise ValueError(f"{name}: given, but there is no norm it could belong to")
        if affine.shape != (x.shape[1],):
            raise ValueError(f"{name}: wanted [{x.shape[1]}], got {list(affine.shape)}")
        if affine.device != x.device:
            raise ValueError(f"{name}: wanted on {x.device}, as x is, got {affine.device}")
    if pool is None:
        return
    if len(pool) != 4 or pool[0] < 1 or pool[1] < 1 or min(pool[2:]) < 0:
        raise ValueError(f"pool: wanted (window, stride, padding before, padding after), got {pool}")
    if min(variant.pooled(x.shape[2]), variant.pooled(x.shape[3])) < 1:
        raise ValueError(f"pool: a window of {pool[0]} does not fit a padded map of {list(x.shape[2:])}")
