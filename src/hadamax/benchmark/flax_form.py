"""The two networks in JAX and Flax, as the published PQN code builds them: Conv, LayerNorm, GELU, product, max_pool.

Architecture: facts of arXiv 2505.15345 (PQN code) and arXiv 2407.04811. Observations come as bytes in PyTorch's order
and are put channels-last inside, compiled with the rest.
"""

from __future__ import annotations

import os
from typing import Any

from hadamax.benchmark.contender import Spec


def flax_jobs(spec: Spec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Jobs `forward` and `both` of a batch, compiled once."""
    if hasattr(os, "sched_setaffinity"):  # XLA takes a thread for each core that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec.threads])
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import flax
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import numpy as np

    dtype = jnp.bfloat16 if spec.precision == "bfloat16" else jnp.float32

    def normalised(x: Any) -> Any:
        return nn.LayerNorm(dtype=dtype)(x)

    def convolution(x: Any, channels: int, kernel: int, stride: int, padding: str, initialiser: Any) -> Any:
        size, strides = (kernel, kernel), (stride, stride)
        return nn.Conv(channels, size, strides, padding, kernel_init=initialiser, dtype=dtype)(x)

    class Hadamax(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for channels, kernel, window, stride in ((32, 8, 4, 4), (64, 4, 2, 2), (64, 3, 3, 1)):
                xavier = nn.initializers.xavier_normal()
                first, second = (
                    nn.gelu(normalised(convolution(x, channels, kernel, 1, "SAME", xavier))) for _ in range(2)
                )
                x = nn.max_pool(first * second, (window, window), (stride, stride), "SAME")
            x = x.reshape(x.shape[0], -1)
            return nn.gelu(normalised(nn.Dense(512, kernel_init=nn.initializers.he_normal(), dtype=dtype)(x)))

    class Nature(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            he = nn.initializers.he_normal()
            for channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
                x = nn.relu(normalised(convolution(x, channels, kernel, stride, "VALID", he)))
            x = x.reshape(x.shape[0], -1)
            return nn.relu(normalised(nn.Dense(512, kernel_init=he, dtype=dtype)(x)))

    network = {"hadamax": Hadamax, "nature-norm": Nature}[spec.encoder]()
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
