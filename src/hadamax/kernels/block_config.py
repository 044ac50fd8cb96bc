"""Settings of a Hadamax block, and the output sizes that follow from them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

COMBINES = ("product", "sum")
NORMS = ("channels", "map", None)

Pool = tuple[int, int, int, int]


class BlockConfig(NamedTuple):
    """Settings of a block, as in `hadamax_block`."""

    branches: int
    activations: tuple[str, ...]  # one per branch
    combine: str  # "product" or "sum"
    norm: str | None  # over "channels" at each pixel, over the whole "map", or none
    eps: float
    pool: Pool | None  # window, stride, padding before and after, the same for both axes

    def pooled(self, size: int) -> int:
        """Return the number of outputs along an axis of `size` pixels."""
        if self.pool is None:
            return size
        window, stride, pad_low, pad_high = self.pool
        return (size + pad_low + pad_high - window) // stride + 1


def check(x: Tensor, weight: Tensor | None, bias: Tensor | None, config: BlockConfig, known: frozenset[str]) -> None:
    """Check that shapes and settings are consistent.

    Raises:
        ValueError: they are inconsistent, or an activation is not in `known`.
    """
    branches, activations, combine, norm, _, pool = config
    if x.dim() != 4 or branches < 1 or x.shape[1] % branches:
        raise ValueError(f"x: expected [N, {branches} * C, H, W], got {list(x.shape)}")
    if len(activations) != branches:
        raise ValueError(f"activations: expected one for each of {branches} branches, got {activations}")
    for name in activations:
        if name not in known:
            raise ValueError(f"activation {name!r} is unknown; expected one of {', '.join(sorted(known))}")
    if combine not in COMBINES:
        raise ValueError(f"combine: {combine!r} is unknown; expected one of {', '.join(COMBINES)}")
    if norm not in NORMS:
        raise ValueError(f"norm: {norm!r} is unknown; expected 'channels', 'map' or None")
    for name, affine in (("weight", weight), ("bias", bias)):
        if affine is None:
            continue
        if norm is None:
            raise ValueError(f"{name}: expected None, because there is no norm")
        if affine.shape != (x.shape[1],):
            raise ValueError(f"{name}: expected [{x.shape[1]}], got {list(affine.shape)}")
        if affine.device != x.device:
            raise ValueError(f"{name}: expected on {x.device}, like x, got {affine.device}")
    if pool is None:
        return
    if len(pool) != 4 or pool[0] < 1 or pool[1] < 1 or min(pool[2:]) < 0:
        raise ValueError(f"pool: expected (window, stride, padding before, padding after), got {pool}")
    if min(config.pooled(x.shape[2]), config.pooled(x.shape[3])) < 1:
        raise ValueError(f"pool: a window of {pool[0]} does not fit a padded map of {list(x.shape[2:])}")
