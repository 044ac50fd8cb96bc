"""Layers and encoders as Flax modules (linen), images channels-last: [B, H, W, C]. Extra: `hadamax-rl[flax]`.

    from hadamax.integrations.flax import build_encoder
    encoder = build_encoder("hadamax", observation_shape=(84, 84, 4), input_scale=255.0)
    variables = encoder.init(jax.random.key(0), observations)  # uint8 or float [B, 84, 84, 4]
    features = encoder.apply(variables, observations)  # [B, 512]

They are built from the same specifications as the PyTorch encoders (`hadamax.networks.ENCODERS`) and compute the same
values. Parameters have the names that Flax assigns in the published PQN code (arXiv 2505.15345): Conv_0 and Conv_1 are
the branches of the first block, then LayerNorm_0, ..., Dense_0. The tree of its `NatureCNN_0` is therefore that of
`build_encoder("hadamax")`. `hadamax.integrations.flax_weights` converts to PyTorch and back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Imported first, because its error names the missing extra.
from hadamax.integrations.flax_layers import (
    ACTIVATIONS,
    Array,
    HadamardConv,
    HadamardDense,
    conv,
    dense,
    initialisers,
)
from hadamax.integrations.flax_tree import residual_layers
from hadamax.integrations.flax_weights import flax_params, save, template, torch_state
from hadamax.networks import ENCODERS
from hadamax.networks.activations import ActivationSetting
from hadamax.networks.encoders import looks_channels_last
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.names import lookup
from hadamax.networks.norms import NormSetting
from hadamax.networks.specs import UNSET, Activate, Conv, EncoderSpec, Residual, Unset, override

import flax.linen as nn  # isort: skip
import jax.numpy as jnp  # isort: skip

__all__ = [
    "Encoder",
    "HadamardConv",
    "HadamardDense",
    "QNetwork",
    "build_encoder",
    "flax_params",
    "save",
    "torch_state",
]


class ResidualBlock(nn.Module):
    """x + linear convolution(hidden convolution(activation(x))), as `networks.residual.ResidualBlock`."""

    stage: Residual
    initialiser: InitialiserSetting
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        _, hidden, linear = residual_layers(self.stage)
        change = activate(x, Activate(self.stage.outer_activation), self.initialiser, self.dtype)
        for layer in (hidden, linear):
            change = conv(change, layer, self.initialiser, self.dtype)
        return x + change


class ConvSequence(nn.Module):
    """An Impala stage, with the name of the published parameter tree."""

    stage: Residual
    initialiser: InitialiserSetting
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        entry, _, _ = residual_layers(self.stage)
        x = conv(x, entry, self.initialiser, self.dtype)
        for _ in range(self.stage.blocks):
            x = ResidualBlock(self.stage, self.initialiser, self.dtype)(x)
        return x


def activate(x: Array, block: Activate, initialiser: InitialiserSetting, dtype: Any) -> Array:
    """Apply an activation block."""
    return ACTIVATIONS[block.activation]()(x)


BLOCKS: dict[type, Callable[..., Array]] = {
    Conv: conv,
    Residual: lambda x, stage, initialiser, dtype: ConvSequence(stage, initialiser, dtype)(x),
    Activate: activate,
}
FLATTENS: dict[str, Callable[[Array], Array]] = {
    "hwc": lambda x: x.reshape(len(x), -1),
    "chw": lambda x: jnp.moveaxis(x, -1, 1).reshape(len(x), -1),
}


class Encoder(nn.Module):
    """uint8 or float [B, *observation_shape], channels last, divided by `input_scale` -> float [B, features].

    Blocks and dense layers are sown into "intermediates" under PyTorch's names. `dtype` is the dtype of the computation
    (None: float32); parameters are float32. Raises TypeError for observations of other dtypes and ValueError for other
    shapes. `build_encoder` validates the settings.
    """

    spec: EncoderSpec
    observation_shape: tuple[int, ...] = (84, 84, 4)
    input_scale: float = 255.0
    dtype: Any = None

    @nn.compact
    def __call__(self, observations: Array) -> Array:
        x = self._scaled(jnp.asarray(observations))
        for number, block in enumerate(self.spec.blocks):
            x = BLOCKS[type(block)](x, block, self.spec.conv_initialiser, self.dtype)
            self.sow("intermediates", f"blocks.{number}", x)
        x = FLATTENS[self.spec.flatten](x) if self.spec.blocks else x
        for number, layer in enumerate(self.spec.dense):
            x = dense(x, layer, self.spec.dense_initialiser, self.dtype)
            self.sow("intermediates", f"dense.{number}", x)
        return x

    def _scaled(self, observations: Array) -> Array:
        if observations.dtype != jnp.uint8 and not jnp.issubdtype(observations.dtype, jnp.floating):
            raise TypeError(f"observations must be uint8 or floating point, got {observations.dtype}")
        if observations.ndim == 0 or observations.shape[1:] != tuple(self.observation_shape):
            wanted = ", ".join(map(str, self.observation_shape))
            image = len(self.observation_shape) == 3
            order = ", channels last" if image else ""
            first = image and observations.shape[1:] == (self.observation_shape[2], *self.observation_shape[:2])
            mend = "; pass jnp.moveaxis(observations, 1, -1)" if first else ""
            raise ValueError(f"observations must be [B, {wanted}]{order}, got {list(observations.shape)}{mend}")
        return observations.astype(self.dtype or jnp.float32) / self.input_scale


class QNetwork(nn.Module):
    """An encoder and one dense layer: [B, *observation_shape] -> action values, float32 [B, num_actions].

    The counterpart of `hadamax.networks.QNetwork`; its parameters are in `encoder` and `head`.
    """

    encoder: Encoder
    num_actions: int

    @nn.compact
    def __call__(self, observations: Array) -> Array:
        features = self.encoder(observations).astype(jnp.float32)
        kernel, bias = initialisers(self.encoder.spec.head_initialiser, features.shape[-1])
        return nn.Dense(self.num_actions, kernel_init=kernel, bias_init=bias, name="head")(features)


def build_encoder(
    encoder: str | EncoderSpec,
    observation_shape: tuple[int, ...] = (84, 84, 4),
    input_scale: float = 255.0,
    *,
    activation: ActivationSetting | None = None,
    branches: int | None = None,
    combine: str | None = None,
    norm: NormSetting | Unset = UNSET,
    layers: str = "all",
    width: float = 1.0,
    features: int | None = None,
    dtype: Any = None,
) -> Encoder:
    """Build a Flax `Encoder`, with the settings and errors of `hadamax.build_encoder`.

    `observation_shape` is (height, width, channels), or (features,) for vectors; `input_scale` is never guessed.
    """
    spec = encoder if isinstance(encoder, EncoderSpec) else lookup("encoder", encoder, ENCODERS)
    spec = override(
        spec,
        activation=activation,
        branches=branches,
        combine=combine,
        norm=norm,
        layers=layers,
        width=width,
        features=features,
    )
    shape = tuple(observation_shape)
    if len(shape) == 3 and looks_channels_last((*shape[1:], shape[0])):
        last = (*shape[1:], shape[0])
        raise ValueError(f"observation_shape {shape} has its channels first; expected (H, W, C): {last}")
    module = Encoder(spec, shape, input_scale, dtype)
    template(module)
    for setting in (spec.conv_initialiser, spec.dense_initialiser, spec.head_initialiser):
        initialisers(setting, fan_in=1)
    return module
