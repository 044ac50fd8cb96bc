"""Published encoders against their equations, written again in numpy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import erf

from hadamax.networks import build_encoder

Array = NDArray[np.float64]
State = dict[str, Array]
Sides = tuple[int, int]


def gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))))


def padded(x: Array, sides: Sides, fill: float) -> Array:
    return np.pad(x, ((0, 0), (0, 0), sides, sides), constant_values=fill)


def convolve(x: Array, weight: Array, bias: Array, sides: Sides) -> Array:
    seen = sliding_window_view(padded(x, sides, 0.0), weight.shape[2:], axis=(2, 3))
    return np.asarray(np.einsum("nchwij,ocij->nohw", seen, weight, optimize=True)) + bias[:, None, None]


def max_pool(x: Array, window: int, stride: int, sides: Sides) -> Array:
    seen = sliding_window_view(padded(x, sides, -np.inf), (window, window), axis=(2, 3))
    return np.asarray(seen[:, :, ::stride, ::stride].max((-2, -1)))


def normalise(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    return np.asarray((x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps))


def per_channel(values: Array) -> Array:
    return values[:, None, None]


def random_state(encoder: torch.nn.Module) -> State:
    """Load random values into all parameters of `encoder` and return them."""
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64) * 0.5
        for name, value in encoder.state_dict().items()
    }
    encoder.load_state_dict(state)
    return {name: value.numpy() for name, value in state.items()}


def product_block(
    x: Array,
    state: State,
    number: int,
    sides: Sides,
    normalised: Callable[[Array, int], Array],
    activation: Callable[[Array], Array],
) -> Array:
    weights = np.split(state[f"blocks.{number}.layer.weight"], 2)
    biases = np.split(state[f"blocks.{number}.layer.bias"], 2)
    branches = [
        activation(normalised(convolve(x, weight, bias, sides), branch))
        for branch, (weight, bias) in enumerate(zip(weights, biases, strict=True))
    ]
    return np.asarray(branches[0] * branches[1])


def test_hadamax_equals_the_published_equations() -> None:
    # 22 -> 6 -> 3 -> 3 covers uneven and size-dependent padding.
    encoder = build_encoder("hadamax", (4, 22, 22)).double()
    state = random_state(encoder)
    observations = torch.randint(0, 256, (2, 4, 22, 22), generator=torch.Generator().manual_seed(1)).to(torch.uint8)

    x = observations.numpy() / 255.0
    convolution_sides = [(3, 4), (1, 2), (1, 1)]
    pools = [(4, 4, (1, 1)), (2, 2, (0, 0)), (3, 1, (1, 1))]
    for number, (sides, (window, stride, pool_sides)) in enumerate(zip(convolution_sides, pools, strict=True)):

        def over_channels(z: Array, branch: int, number: int = number) -> Array:
            scale = state[f"blocks.{number}.layer.norm.weight"][branch]
            shift = state[f"blocks.{number}.layer.norm.bias"][branch]
            return normalise(z, (1,), 1e-6) * per_channel(scale) + per_channel(shift)

        product = product_block(x, state, number, sides, over_channels, gelu_tanh)
        x = max_pool(product, window, stride, pool_sides)
    assert x.shape == (2, 64, 3, 3)
    flat = x.transpose(0, 2, 3, 1).reshape(2, -1)
    dense = flat @ state["dense.0.weight"].T + state["dense.0.bias"]
    expected = gelu_tanh(normalise(dense, (1,), 1e-6) * state["dense.0.norm.weight"] + state["dense.0.norm.bias"])
    np.testing.assert_allclose(encoder(observations).detach(), expected, rtol=1e-8, atol=1e-10)


def test_hadamax_c51_equals_the_published_equations() -> None:
    # 22 -> 23 -> 5 -> 6 -> 3 -> 3
    encoder = build_encoder("hadamax-c51", (4, 22, 22)).double()
    state = random_state(encoder)
    observations = torch.randint(0, 256, (2, 4, 22, 22), generator=torch.Generator().manual_seed(1)).to(torch.uint8)

    x = observations.numpy() / 255.0
    convolution_sides = [(4, 4), (2, 2), (1, 1)]
    pools = [(4, 4, (0, 0)), (2, 2, (0, 0)), (3, 1, (1, 1))]
    for number, (sides, (window, stride, pool_sides)) in enumerate(zip(convolution_sides, pools, strict=True)):
        product = product_block(x, state, number, sides, lambda z, _: normalise(z, (1, 2, 3), 1e-5), gelu)
        x = max_pool(product, window, stride, pool_sides)
    dense = x.reshape(2, -1) @ state["dense.0.weight"].T + state["dense.0.bias"]
    expected = gelu(normalise(dense, (1,), 1e-5))
    np.testing.assert_allclose(encoder(observations).detach(), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("activation", ["relu", "crelu"])
def test_impala_equals_the_published_equations(activation: str) -> None:
    encoder = build_encoder("impala", (2, 9, 9), activation=activation, width=0.25).double()
    random_state(encoder)

    def activate(x: Array) -> Array:
        return x.clip(0) if activation == "relu" else np.concatenate((x.clip(0), (-x).clip(0)), axis=1)

    state = {name: value.numpy() for name, value in encoder.state_dict().items()}

    def linear(x: Array, prefix: str) -> Array:
        return convolve(x, state[f"{prefix}.layer.weight"], state[f"{prefix}.layer.bias"], (1, 1))

    observations = torch.rand(2, 2, 9, 9, dtype=torch.float64) * 255
    x = observations.numpy() / 255.0
    for stage in range(5):
        x = linear(x, f"blocks.{stage}.entry")
        side = (1, 1) if x.shape[2] % 2 else (0, 1)
        x = max_pool(x, 3, 2, side)
        for residual in range(2):
            prefix = f"blocks.{stage}.residuals.{residual}"
            hidden = activate(linear(activate(x), f"{prefix}.hidden"))
            x = x + linear(hidden, f"{prefix}.linear")
    flat = activate(x).transpose(0, 2, 3, 1).reshape(2, -1)
    expected = activate(flat @ state["dense.0.weight"].T + state["dense.0.bias"])
    np.testing.assert_allclose(encoder(observations).detach(), expected, rtol=1e-8, atol=1e-8)
