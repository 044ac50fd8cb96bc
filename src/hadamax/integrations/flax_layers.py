"""Hadamard layers as Flax modules, and their parts. See `hadamax.integrations.flax`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

try:
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed: pip install 'hadamax-rl[flax]'", name=error.name
    ) from None

from hadamax.networks.activations import (
    LEAKY_RELU_DENOMINATOR,
    LEAKY_RELU_NUMERATOR,
    ActivationSetting,
    activation_names,
)
from hadamax.networks.hadamard import COMBINATIONS
from hadamax.networks.initialisers import (
    INITIALISERS,
    InitialiserSetting,
    Orthogonal,
    TorchDefault,
    TruncatedNormal,
    resolve_initialiser,
)
from hadamax.networks.names import IntOrPair, lookup
from hadamax.networks.norms import NormSetting, resolve_norm
from hadamax.networks.specs import Conv, Dense
from hadamax.networks.windows import PaddingSetting, Pool, make_window

Array = Any
Function = Callable[..., Array]


class Rational(nn.Module):
    """The learnable Padé approximant of `hadamax.networks.activations.Rational`, shape kept."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        numerator = self.param("numerator", lambda key: jnp.array(LEAKY_RELU_NUMERATOR, jnp.float32))
        denominator = self.param("denominator", lambda key: jnp.array(LEAKY_RELU_DENOMINATOR, jnp.float32))
        above = jnp.polyval(numerator[::-1], x)
        below = 1 + jnp.abs(x) * jnp.polyval(jnp.abs(denominator)[::-1], jnp.abs(x))
        return (above / below).astype(x.dtype)


def crelu(x: Array) -> Array:
    """Compute concat(relu(x), relu(-x)) over the channels: [..., C] -> [..., 2C]."""
    return jnp.concatenate((nn.relu(x), nn.relu(-x)), axis=-1)


# Factories of activation functions, with the names of `hadamax.networks.ACTIVATIONS`.
ACTIVATIONS: dict[str, Callable[[], Function]] = {
    "tanh": lambda: jnp.tanh,
    "sigmoid": lambda: nn.sigmoid,
    "relu": lambda: nn.relu,
    "gelu": lambda: partial(nn.gelu, approximate=False),
    "gelu_tanh": lambda: partial(nn.gelu, approximate=True),
    "silu": lambda: nn.silu,
    "selu": lambda: nn.selu,
    "crelu": lambda: crelu,
    "rational": lambda: Rational(),
    "identity": lambda: lambda x: x,
}
POOLS: dict[str, Function] = {"max": nn.max_pool, "average": nn.avg_pool}


def initialisers(setting: InitialiserSetting, fan_in: int) -> tuple[Function, Function]:
    """Return the initialisers of kernel and bias. Raises ValueError for a function, which supports PyTorch only."""
    chosen, make = resolve_initialiser(setting), nn.initializers
    if isinstance(chosen, TorchDefault):
        bound = 1 / math.sqrt(fan_in)
        bias = partial(jax.random.uniform, minval=-bound, maxval=bound)
        return make.variance_scaling(1 / 3, "fan_in", "uniform"), bias
    if isinstance(chosen, TruncatedNormal):
        fan = "fan_avg" if chosen.average_fan else "fan_in"
        return make.variance_scaling(chosen.scale, fan, "truncated_normal"), make.zeros
    if isinstance(chosen, Orthogonal):
        return make.orthogonal(chosen.gain), make.zeros
    raise ValueError(f"initialiser {setting!r} has no form in Flax; expected {', '.join(INITIALISERS)}")


# -- layers: called inside a module, which names the submodules  ------------------------------------------------


def combine_branches(branches: Sequence[Array], layer: Conv | Dense, dtype: Any) -> Array:
    """Normalise, activate and combine branches: each [..., C] -> [..., C] (crelu: 2C)."""
    norm, combine = resolve_norm(layer.norm), lookup("combine", layer.combine, COMBINATIONS)
    if norm is not None:
        axes = (-3, -2, -1) if norm.over == "map" and isinstance(layer, Conv) else -1
        # Flax's fast variance is inaccurate where the channels of a pixel are almost equal.
        settings = {"use_scale": norm.affine, "use_bias": norm.affine, "use_fast_variance": False, "dtype": dtype}
        branches = [nn.LayerNorm(norm.eps, reduction_axes=axes, **settings)(x) for x in branches]
    names = activation_names(layer.activation, layer.branches)
    return reduce(combine, (ACTIVATIONS[name]()(x) for name, x in zip(names, branches, strict=True)))


def dense(x: Array, layer: Dense, initialiser: InitialiserSetting, dtype: Any) -> Array:
    """Apply a dense Hadamard layer: [..., in] -> [..., features]."""
    kernel, bias = initialisers(initialiser, x.shape[-1])
    settings = {"use_bias": layer.bias, "kernel_init": kernel, "bias_init": bias, "dtype": dtype}
    branches = [nn.Dense(layer.features, **settings)(x) for _ in range(layer.branches)]
    return combine_branches(branches, layer, dtype)


def conv(x: Array, layer: Conv, initialiser: InitialiserSetting, dtype: Any) -> Array:
    """Apply a convolutional Hadamard layer and its pool, if any: [B, H, W, in] -> [B, H', W', channels]."""
    window = make_window(layer.kernel, layer.stride, layer.padding)
    kernel, bias = initialisers(initialiser, math.prod(window.kernel) * x.shape[-1])
    settings = {"use_bias": layer.bias, "kernel_init": kernel, "bias_init": bias, "dtype": dtype}
    margins = window.margins(*x.shape[1:3])
    make = partial(nn.Conv, layer.channels, window.kernel, window.stride, margins, **settings)
    branches = [make()(x) for _ in range(layer.branches)]
    combined = combine_branches(branches, layer, dtype)
    return combined if layer.pool is None else pooled(combined, layer.pool)


def pooled(x: Array, pool: Pool) -> Array:
    """Apply a pool: [B, H, W, C] -> [B, H', W', C]."""
    window = make_window(pool.window, pool.stride, pool.padding)
    return lookup("pool kind", pool.kind, POOLS)(x, window.kernel, window.stride, window.margins(*x.shape[1:3]))


class HadamardDense(nn.Module):
    """A dense Hadamard layer, with its activation: float [..., in] -> float [..., features] (crelu: twice that).

    The settings are those of `hadamax.HadamardLinear`, in Flax's names. Parameters: Dense_0, Dense_1, ... for the
    branches, then LayerNorm_0, ... . Source: arXiv 2406.09079, section 4.
    """

    features: int
    branches: int = 2
    activation: ActivationSetting = "tanh"
    combine: str = "product"
    norm: NormSetting = None
    use_bias: bool = True
    initialiser: InitialiserSetting = "lecun_normal"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        layer = Dense(self.features, self.activation, self.branches, self.combine, self.norm, self.use_bias)
        return dense(x, layer, self.initialiser, self.dtype)


class HadamardConv(nn.Module):
    """A convolutional Hadamard layer: float [B, H, W, in] -> float [B, H', W', features] (crelu: twice that).

    The settings are those of `hadamax.HadamardConv2d`, in Flax's names; `padding` is "same", "valid", "half" or a
    number of pixels, case-insensitive. Source: arXiv 2406.09079, section 4; arXiv 2505.15345.
    """

    features: int
    kernel_size: IntOrPair
    strides: IntOrPair = 1
    padding: PaddingSetting = "SAME"
    branches: int = 2
    activation: ActivationSetting = "tanh"
    combine: str = "product"
    norm: NormSetting = None
    use_bias: bool = True
    initialiser: InitialiserSetting = "lecun_normal"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        padding = self.padding.lower() if isinstance(self.padding, str) else self.padding
        settings = (self.activation, self.branches, self.combine, self.norm)
        layer = Conv(self.features, self.kernel_size, self.strides, padding, *settings, bias=self.use_bias)
        return conv(x, layer, self.initialiser, self.dtype)
