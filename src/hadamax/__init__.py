"""Hadamard representations and the Hadamax encoder for deep reinforcement learning.

Papers: Hadamard Representations (arXiv 2406.09079), Hadamax Encoding (arXiv 2505.15345).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hadamax.networks import ENCODERS, HadamardConv2d, HadamardLinear, build_encoder

if TYPE_CHECKING:
    from hadamax.training.agent import load as load

__all__ = ["ENCODERS", "HadamardConv2d", "HadamardLinear", "build_encoder", "load"]


def __getattr__(name: str) -> Any:
    # Whoever wants one layer should not wait for the emulators and the run loop.
    if name == "load":
        from hadamax.training.agent import load

        return load
    raise AttributeError(f"module 'hadamax' has no attribute {name!r}")
