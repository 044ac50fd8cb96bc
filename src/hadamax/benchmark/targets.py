"""Target ratios of the library on two cores."""

from __future__ import annotations

from typing import NamedTuple

from hadamax.benchmark.rounds import Ratio


class Target(NamedTuple):
    """A bound on a ratio of one section of `hadamax bench`."""

    ratio: str
    """Name of the ratio in the results."""
    bound: float
    at_least: bool = False

    def kept(self, ratio: Ratio) -> bool:
        return ratio.median >= self.bound if self.at_least else ratio.median <= self.bound

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.bound:g}"


TARGETS = (
    Target("hadamax, bfloat16: forward+backward / products alone", 1.3),
    Target("hadamax, float32: forward+backward / products alone", 1.35),
    Target("hadamax, bfloat16: forward / products alone", 1.35),
    Target("hadamax, float32: forward / products alone", 1.35),
    Target("hadamax, float32: eager PyTorch / ours, forward+backward", 4, at_least=True),
    Target("hadamax, bfloat16: eager PyTorch / ours, forward+backward", 4, at_least=True),
    Target("hadamax, float32: JAX float32 / ours, forward+backward", 6, at_least=True),
    Target("hadamax, bfloat16: JAX float32 / ours, forward+backward", 14, at_least=True),
    Target("hadamax, float32: memory of an update / eager PyTorch", 0.45),
    Target("hadamax, bfloat16: memory of an update / eager PyTorch", 0.45),
    Target("hadamax-PQN iteration / sum of its parts alone", 1.35),
    Target("nature-norm-PQN iteration / sum of its parts alone", 1.25),
)
BY_RATIO = {target.ratio: target for target in TARGETS}
