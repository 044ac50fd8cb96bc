"""The two networks in JAX and Flax, as in the published PQN code: Conv, LayerNorm, GELU, product, max_pool.

Architectures: arXiv 2505.15345 (PQN code) and arXiv 2407.04811. Observations are bytes in PyTorch's layout;
converting them to channels-last is part of the compiled function.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hadamax.benchmark.contender import Spec

XAVIER, HE = nn.initializers.xavier_normal(), nn.initializers.he_normal()


class Hadamax(nn.Module):  # type: ignore[misc]
    """[N, 84, 84, 4] -> [N, 512]: `hadamax`."""

    dtype: Any

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        for channels, kernel, window, stride in ((32, 8, 4, 4), (64, 4, 2, 2), (64, 3, 3, 1)):
            branches = []
            for _ in range(2):
                branch = nn.Conv(channels, (kernel, kernel), kernel_init=XAVIER, dtype=self.dtype)(x)
                branches.append(nn.gelu(nn.LayerNorm(dtype=self.dtype)(branch)))
            x = nn.max_pool(branches[0] * branches[1], (window, window), (stride, stride), "SAME")
        x = nn.Dense(512, kernel_init=HE, dtype=self.dtype)(x.reshape(x.shape[0], -1))
        return nn.gelu(nn.LayerNorm(dtype=self.dtype)(x))


class Nature(nn.Module):  # type: ignore[misc]
    """[N, 84, 84, 4] -> [N, 512]: `nature-norm`."""

    dtype: Any

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        for channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            x = nn.Conv(channels, (kernel, kernel), (stride, stride), "VALID", kernel_init=HE, dtype=self.dtype)(x)
            x = nn.relu(nn.LayerNorm(dtype=self.dtype)(x))
        x = nn.Dense(512, kernel_init=HE, dtype=self.dtype)(x.reshape(x.shape[0], -1))
        return nn.relu(nn.LayerNorm(dtype=self.dtype)(x))


NETWORKS: dict[str, Any] = {"hadamax": Hadamax, "nature-norm": Nature}


def flax_jobs(spec: Spec) -> tuple[dict[str, Callable[[], object]], dict[str, Any]]:
    """Return jobs `forward` and `both` (with backward) of a batch, compiled at their first use."""
    if hasattr(os, "sched_setaffinity"):  # XLA uses one thread per core of the affinity mask
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec.threads])
    jax.config.update("jax_platforms", "cpu")
    dtype = jnp.bfloat16 if spec.precision == "bfloat16" else jnp.float32
    network = NETWORKS[spec.encoder](dtype)
    random = np.random.default_rng(0)
    observations = jnp.asarray(random.integers(256, size=(spec.batch, 4, 84, 84), dtype=np.uint8))
    gradient = jnp.asarray(random.standard_normal((spec.batch, 512), dtype=np.float32))

    def features(parameters: Any, observations: Any) -> Any:
        pixels = jnp.transpose(observations, (0, 2, 3, 1)) / 255.0
        return network.apply(parameters, pixels.astype(dtype))

    def loss(parameters: Any, observations: Any) -> Any:
        return (features(parameters, observations) * gradient).sum()

    parameters = network.init(jax.random.key(0), jnp.zeros((1, 84, 84, 4)))
    forward, both = jax.jit(features), jax.jit(jax.grad(loss))
    jobs = {
        "forward": lambda: jax.block_until_ready(forward(parameters, observations)),
        "both": lambda: jax.block_until_ready(both(parameters, observations)),
    }
    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    return jobs, {"jax": jax.__version__, "flax": flax.__version__, "parameters": int(count)}
