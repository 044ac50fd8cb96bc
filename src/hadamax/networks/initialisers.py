"""Initial weights by name. An initialiser fills the weight and bias of ONE branch, in place.

Branches are filled one after the other. Each starts like the layer it replaces (arXiv 2406.09079): fans are those of
one branch, and a branch consumes the same random numbers as `nn.Linear` or `nn.Conv2d`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hadamax.networks.names import lookup

Initialiser = Callable[[Tensor, Tensor | None], None]
InitialiserSetting = str | Initialiser

# Standard deviation of a unit normal truncated at +-2: Flax divides by it to keep the variance.
TRUNCATED_STD = 0.87962566103423978


def _fans(weight: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight [out, in] or [out, in, kernel height, kernel width]."""
    field = math.prod(weight.shape[2:])
    return weight.shape[1] * field, weight.shape[0] * field


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)


@dataclass(frozen=True)
class TorchDefault:
    """PyTorch's default for `nn.Linear` and `nn.Conv2d`: weight and bias uniform in +-1/sqrt(fan_in)."""

    def __call__(self, weight: Tensor, bias: Tensor | None) -> None:
        bound = 1 / math.sqrt(_fans(weight)[0])
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        if bias is not None:
            nn.init.uniform_(bias, -bound, bound)


@dataclass(frozen=True)
class TruncatedNormal:
    """Flax's truncated-normal `variance_scaling`, zero bias: variance scale / fan, cut at 2 sd."""

    scale: float
    average_fan: bool = False  # fan is fan_in, or the mean of fan_in and fan_out

    def __call__(self, weight: Tensor, bias: Tensor | None) -> None:
        fan_in, fan_out = _fans(weight)
        fan = (fan_in + fan_out) / 2 if self.average_fan else fan_in
        std = math.sqrt(self.scale / fan) / TRUNCATED_STD
        nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
        _zero(bias)


@dataclass(frozen=True)
class Orthogonal:
    """Orthogonal rows or columns times `gain`, zero bias (PPO: sqrt(2) in hidden layers)."""

    gain: float = math.sqrt(2)

    def __call__(self, weight: Tensor, bias: Tensor | None) -> None:
        drawn = torch.empty_like(weight, memory_format=torch.contiguous_format)  # weights may be channels-last
        with torch.no_grad():
            weight.copy_(nn.init.orthogonal_(drawn, self.gain))
        _zero(bias)


INITIALISERS: dict[str, Initialiser] = {
    "torch": TorchDefault(),
    "lecun_normal": TruncatedNormal(1.0),
    "he_normal": TruncatedNormal(2.0),
    "xavier_normal": TruncatedNormal(1.0, average_fan=True),
    "orthogonal": Orthogonal(),
}


def resolve_initialiser(initialiser: InitialiserSetting) -> Initialiser:
    """Return the initialiser of a name, or the given one. Raises TypeError or ValueError for other values."""
    return initialiser if callable(initialiser) else lookup("initialiser", initialiser, INITIALISERS)
