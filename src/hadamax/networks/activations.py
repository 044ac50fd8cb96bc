"""Activations by name. Channels are the last dimension, whatever the layer.

The names are those compared by the Hadamard representation (arXiv 2406.09079, Table 1 and Fig. 8) and used by
the two Hadamax codes (arXiv 2505.15345): `gelu` is exact (erf), `gelu_tanh` is Flax's tanh approximation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from hadamax.networks.names import lookup, whole

ActivationSetting = str | Sequence[str]


class CReLU(nn.Module):
    """concat(relu(x), relu(-x)) over the channels: [..., C] -> [..., 2C]. arXiv 1603.05201."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x.relu(), (-x).relu()), dim=-1)


# Least squares against leaky ReLU (slope 0.01) at 2001 even points of [-3, 3], all ten coefficients free
# (scipy.optimize.least_squares, best of 60 random starts): root mean square error 0.0050, largest 0.030 (at
# 0).
LEAKY_RELU_NUMERATOR = (0.0298036, 0.61838288, 2.32230025, 3.0491766, 1.48336741, 0.2505567)
LEAKY_RELU_DENOMINATOR = (1.14150984, 4.3891222, 0.87030247, 0.34654286)


class Rational(nn.Module):
    """A learnable Padé approximant of degrees (5, 4), shape kept: any [...] -> [...].

        f(x) = (a0 + a1 x + ... + a5 x^5) / (1 + |b1 x| + |b2 x^2| + |b3 x^3| + |b4 x^4|)

    The denominator has no pole ("version A" of Molina et al. 2019, arXiv 1907.06732; used for deep RL by
    Delfosse et al. 2024, arXiv 2102.09407). It starts as a fit of leaky ReLU. Powers are taken in the
    parameters' precision, so bfloat16 features do not lose the fifth power.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numerator = nn.Parameter(torch.empty(6))
        self.denominator = nn.Parameter(torch.empty(4))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.numerator.copy_(torch.tensor(LEAKY_RELU_NUMERATOR))
            self.denominator.copy_(torch.tensor(LEAKY_RELU_DENOMINATOR))

    def forward(self, x: Tensor) -> Tensor:
        z = x.to(self.numerator.dtype)
        a, b, size = self.numerator, self.denominator.abs(), z.abs()
        above = a[0] + z * (a[1] + z * (a[2] + z * (a[3] + z * (a[4] + z * a[5]))))
        below = 1 + size * (b[0] + size * (b[1] + size * (b[2] + size * b[3])))
        return (above / below).to(x.dtype)


@dataclass(frozen=True)
class Activation:
    """An activation: its constructor, outputs per input, and range of values (None if unbounded)."""

    make: Callable[[], nn.Module]
    width: int = 1
    range: tuple[float, float] = (-math.inf, math.inf)


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(nn.Tanh, range=(-1.0, 1.0)),
    "sigmoid": Activation(nn.Sigmoid, range=(0.0, 1.0)),
    "relu": Activation(nn.ReLU, range=(0.0, math.inf)),
    "gelu": Activation(nn.GELU),
    "gelu_tanh": Activation(partial(nn.GELU, approximate="tanh")),
    "silu": Activation(nn.SiLU),
    "selu": Activation(nn.SELU),
    "crelu": Activation(CReLU, width=2, range=(0.0, math.inf)),
    "rational": Activation(Rational),
    "identity": Activation(nn.Identity),
}


def resolve_activations(activation: ActivationSetting, branches: int) -> tuple[Activation, ...]:
    """One `Activation` per branch, from one name for all or a name for each.

    Raises TypeError if they are not names, and ValueError for an unknown name, for more or fewer names than
    branches, and for branches of different widths (`crelu` beside another), which cannot be combined.
    """
    names = activation_names(activation, branches)
    resolved = tuple(lookup("activation", name, ACTIVATIONS) for name in names)
    if len({entry.width for entry in resolved}) > 1:
        raise ValueError(
            f"activation {names} mixes crelu, twice as wide, with others; use crelu in every branch or in none"
        )
    return resolved


def activation_names(activation: ActivationSetting, branches: int) -> tuple[str, ...]:
    """A name per branch. Raises TypeError for anything but names, ValueError for more or fewer than branches."""
    branches = whole("branches", branches)
    if isinstance(activation, str):
        return (activation,) * branches
    if not isinstance(activation, tuple | list):
        raise TypeError(f"activation must be a name or a name per branch, not {activation!r}")
    if len(activation) != branches:
        raise ValueError(
            f"activation {tuple(activation)} names {len(activation)} branches and the layer has {branches}; "
            "give one name for all or one for each"
        )
    return tuple(activation)
