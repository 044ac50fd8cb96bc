"""Hadamard representations and the Hadamax encoder for deep reinforcement learning.

Papers: Hadamard Representations (arXiv 2406.09079), Hadamax Encoding (arXiv 2505.15345).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from hadamax.agents.agent import Agent as Agent
    from hadamax.agents.loading import load as load
    from hadamax.networks import ENCODERS as ENCODERS
    from hadamax.networks import HadamardConv2d as HadamardConv2d
    from hadamax.networks import HadamardLinear as HadamardLinear
    from hadamax.networks import build_encoder as build_encoder

# Imported on first use, so that importing one layer does not load the run loop, and `--help` does not load PyTorch.
_HOMES = {
    "ENCODERS": "hadamax.networks",
    "HadamardConv2d": "hadamax.networks",
    "HadamardLinear": "hadamax.networks",
    "build_encoder": "hadamax.networks",
    "Agent": "hadamax.agents.agent",
    "load": "hadamax.agents.loading",
}
_PARTS = ("diagnostics", "environments", "functional", "kernels", "networks", "redo")

__all__ = ["ENCODERS", "Agent", "HadamardConv2d", "HadamardLinear", "build_encoder", "load"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _PARTS:  # `import hadamax` is enough for hadamax.networks.QNetwork
        value = import_module(f"hadamax.{name}")
    elif name == "__version__":
        from importlib import metadata  # slow

        try:
            value = metadata.version("hadamax-rl")
        except metadata.PackageNotFoundError:  # run from its sources
            value = "unknown"
    else:
        raise AttributeError(f"module 'hadamax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
