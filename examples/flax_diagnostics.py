"""Diagnostics of a Flax module's activations, for a custom network and for an encoder of this library.

pip install '.[flax]'  # in the clone
python examples/flax_diagnostics.py
"""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax
import numpy as np
import tyro

from hadamax.diagnostics import Health, measure
from hadamax.diagnostics.signs import signs
from hadamax.integrations.flax import QNetwork, build_encoder
from hadamax.integrations.flax_diagnostics import activations


@dataclass(frozen=True)
class Settings:
    encoder: str = "nature-norm"
    """A name in hadamax.ENCODERS."""
    batch: int = 256
    """Number of observations, here random; use those of your agent instead."""
    scale: float = 30.0
    """Factor of the custom network's weights; large values saturate its tanh units."""


class Network(nn.Module):
    """A custom network: a layer is measured if its output is sown."""

    scale: float

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images.reshape(len(images), -1) / 255.0
        x = nn.tanh(self.scale * nn.Dense(64)(x))
        self.sow("intermediates", "hidden", x)  # the only line added to the network
        return nn.Dense(6)(x)


def report(health: list[Health]) -> None:
    for layer in health:
        dead = layer.dead_kde if layer.saturated is not None else layer.dead_zero
        most = min(layer.units, layer.samples)
        print(f"{layer.layer:<20} dead {dead:4.0%}  effective rank {layer.effective_rank} of {most}")
    print(*signs(health), sep="\n")


def main(s: Settings) -> tuple[list[Health], list[Health]]:
    observations = np.random.default_rng(0).integers(0, 256, (s.batch, 84, 84, 4), dtype=np.uint8)
    own = Network(s.scale)
    variables = own.init(jax.random.key(0), observations)
    first = measure(activations(own, variables, observations, ranges={"hidden": (-1.0, 1.0)}))
    report(first)

    ours = QNetwork(build_encoder(s.encoder), num_actions=6)  # its blocks are sown by the library
    variables = jax.jit(ours.init)(jax.random.key(0), observations[:1])
    second = measure(activations(ours, variables, observations))
    report(second)
    return first, second


if __name__ == "__main__":
    main(tyro.cli(Settings))
