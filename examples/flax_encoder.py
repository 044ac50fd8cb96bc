"""The Hadamax encoder in JAX: create it, train a step, save it, and compute the same values with PyTorch.

pip install '.[flax]'  # in the clone
python examples/flax_encoder.py
python examples/flax_encoder.py --weights runs/pong/checkpoints/frame_000040000000/weights.safetensors
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import tyro

import hadamax
from hadamax.integrations.flax import QNetwork, build_encoder, flax_params, save, torch_state
from hadamax.networks import QNetwork as TorchQNetwork


@dataclass(frozen=True)
class Settings:
    encoder: str = "hadamax"
    """A name in hadamax.ENCODERS."""
    num_actions: int = 6
    weights: str = ""
    """Initial weights: a file of a run of this library, of the published JAX code, or of this example."""
    batch: int = 2
    out: str = "flax_hadamax.safetensors"
    """Path at which the weights are saved."""


def main(s: Settings) -> float:
    observations = np.random.default_rng(0).integers(0, 256, (s.batch, 84, 84, 4), dtype=np.uint8)  # channels last
    network = QNetwork(build_encoder(s.encoder), s.num_actions)
    apply = jax.jit(network.apply)
    if s.weights:
        params = flax_params(s.weights, network.encoder)
    else:
        params = jax.jit(network.init)(jax.random.key(0), observations)["params"]

    @jax.jit
    def loss(params: dict) -> jax.Array:
        return jnp.mean(jnp.square(apply({"params": params}, observations) - 1.0))

    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.radam(2.5e-4))
    before, gradients = jax.value_and_grad(loss)(params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    params = optax.apply_updates(params, updates)
    save(s.out, params)
    print(f"loss {before:.4f} -> {loss(params):.4f}; weights in {s.out}")

    there = TorchQNetwork(hadamax.build_encoder(s.encoder), s.num_actions)
    there.load_state_dict(torch_state(s.out, there.encoder))
    with torch.no_grad():
        q = there(torch.from_numpy(observations).movedim(-1, 1)).numpy()  # channels first
    difference = float(np.abs(q - apply({"params": params}, observations)).max() / np.abs(q).max())
    print(f"largest difference of a Q-value from PyTorch's, relative to the largest Q-value: {difference:.1e}")
    return difference


if __name__ == "__main__":
    main(tyro.cli(Settings))
