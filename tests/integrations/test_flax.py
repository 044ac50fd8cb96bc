"""The Flax encoders compute the numbers of the PyTorch ones from the same weights in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("flax", reason="needs the extra: pip install 'hadamax-rl[flax]'")

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

import hadamax
from hadamax.integrations.flax import HadamardConv, HadamardDense, QNetwork, build_encoder
from hadamax.integrations.flax_layers import ACTIVATIONS, initialisers
from hadamax.integrations.flax_weights import flax_params, torch_state
from hadamax.networks import ENCODERS, INITIALISERS
from hadamax.networks import QNetwork as TorchQNetwork

pytestmark = [pytest.mark.extra("flax"), pytest.mark.end_to_end]
HR: dict[str, Any] = {"activation": "tanh", "branches": 2}


def random_weights(module: torch.nn.Module, seed: int = 0) -> None:
    """Perturb all parameters, so that no bias is zero and no scale one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * noise * (parameter.abs().mean() if parameter.ndim > 1 else 1.0))


def observations(shape: tuple[int, ...], batch: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, *shape), dtype=np.uint8)


def to_nhwc(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, 1, -1) if images.ndim == 4 else images


def assert_same(ours: Any, theirs: torch.Tensor) -> None:
    """Compare to 1e-5 of the largest feature, and elementwise to 2e-5 of the root mean square."""
    expected = theirs.detach().numpy()
    assert np.abs(expected).max() > 1e-2
    assert np.abs(np.asarray(ours) - expected).max() <= 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=1e-5, atol=2e-5 * np.sqrt(np.mean(expected**2)))


def both(name: str, shape: tuple[int, ...], scale: float, dtype: Any, **settings: Any) -> tuple[Any, Any]:
    """Return the encoder in PyTorch and Flax with equal weights."""
    torch.manual_seed(0)
    encoder = hadamax.build_encoder(name, shape, scale, **settings)
    random_weights(encoder)
    flax_shape = (*shape[1:], shape[0]) if len(shape) == 3 else shape
    module = build_encoder(name, flax_shape, scale, dtype=dtype, **settings)
    params = flax_params(encoder.state_dict(), module)
    return encoder, jax.jit(lambda seen: module.apply({"params": params}, seen))


def compare(name: str, shape: tuple[int, ...], **settings: Any) -> None:
    """Compare in float64, where rounding does not matter."""
    with jax.enable_x64(True):
        encoder, apply = both(name, shape, 200.0, jnp.float64, **settings)
        seen = observations(shape)
        expected = encoder.double()(torch.from_numpy(seen)).detach()
        ours = apply(to_nhwc(seen))
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("hadamax", {}), ("hadamax-c51", {}), ("nature", {}), ("nature", {**HR, "layers": "last"}), ("nature-norm", HR)],
)
def test_published_encoders_at_full_size(name: str, settings: dict[str, Any]) -> None:
    encoder, apply = both(name, (4, 84, 84), 255.0, None, **settings)
    seen = observations((4, 84, 84))
    assert_same(apply(to_nhwc(seen)), encoder(torch.from_numpy(seen)))


@pytest.mark.parametrize("name", [n for n in ENCODERS if n not in ("hadamax", "hadamax-c51", "nature", "nature-norm")])
def test_other_encoders_at_a_small_uneven_size(name: str) -> None:
    shapes: dict[str, tuple[int, ...]] = {"mlp": (5,), "hadamax-deep": (4, 61, 64)}
    compare(name, shapes.get(name, (3, 37, 42)))


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": ("tanh", "sigmoid"), "branches": 2, "norm": "map"},
        {"activation": "crelu", "branches": 3, "combine": "sum"},
        {"activation": "rational", "branches": 2, "norm": "channels"},
        {"activation": "silu", "norm": hadamax.networks.Norm("map", affine=True, eps=1e-3), "features": 24},
        {"activation": "selu", "width": 0.5},
    ],
)
@pytest.mark.parametrize("name", ["minatar", "impala"])
def test_every_kind_of_override(name: str, settings: dict[str, Any]) -> None:
    compare(name, (4, 18, 21), **settings)


@pytest.mark.parametrize("name", ["hadamax", "hadamax-c51", "impala", "mlp"])
def test_converted_weights_match_the_module_tree(name: str) -> None:
    shape = (5,) if name == "mlp" else (24, 26, 3)
    settings: dict[str, Any] = {} if name == "hadamax" else {"activation": "rational"}
    module = QNetwork(build_encoder(name, shape, **settings), num_actions=4)
    made = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))["params"]
    network = TorchQNetwork(hadamax.build_encoder(name, (shape[-1], *shape[:-1]), **settings), 4)
    converted = flax_params(network.state_dict(), module.encoder)
    shapes = {path: value.shape for path, value in flatten_dict(converted).items()}
    assert shapes == {path: value.shape for path, value in flatten_dict(made).items()}


def test_fresh_network_converts_to_pytorch_with_its_head() -> None:
    module = QNetwork(build_encoder("hadamax-minatar", (10, 10, 4), 1.0), num_actions=4)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 10, 10, 4)))["params"]
    network = TorchQNetwork(hadamax.build_encoder("hadamax-minatar", (4, 10, 10), 1.0), 4)
    network.load_state_dict(torch_state(params, network.encoder))
    seen = observations((4, 10, 10))
    assert_same(module.apply({"params": params}, to_nhwc(seen)), network(torch.from_numpy(seen)))


def test_single_layers() -> None:
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype(np.float32)
    conv = HadamardConv(5, (4, 3), strides=(2, 1), padding="SAME", activation=("gelu", "identity"), norm="channels")
    params = conv.init(jax.random.key(1), x)["params"]
    like = hadamax.HadamardConv2d(
        3, 5, (4, 3), stride=(2, 1), padding="same", activation=("gelu", "identity"), norm="channels"
    )
    kernels = [np.asarray(params[f"Conv_{i}"]["kernel"]).transpose(3, 2, 0, 1) for i in range(2)]
    with torch.no_grad():
        like.weight.copy_(torch.from_numpy(np.concatenate(kernels)))
        assert like.bias is not None
        like.bias.zero_()
    expected = like(torch.from_numpy(x).movedim(-1, 1)).movedim(1, -1)
    assert_same(conv.apply({"params": params}, x), expected)
    dense = HadamardDense(6, branches=3, activation="sigmoid", use_bias=False)
    params = dense.init(jax.random.key(2), x)["params"]
    by_hand = 1.0
    for i in range(3):
        by_hand = by_hand / (1 + np.exp(-x @ np.asarray(params[f"Dense_{i}"]["kernel"])))
    np.testing.assert_allclose(dense.apply({"params": params}, x), by_hand, rtol=1e-5)


@pytest.mark.parametrize("name", INITIALISERS)
def test_initial_weights_have_the_spread_of_pytorch(name: str) -> None:
    fan_in = 4 * 4 * 24
    kernel, bias = initialisers(name, fan_in)
    layer = hadamax.HadamardConv2d(24, 32, 4, branches=1, initialiser=name).requires_grad_(False)
    assert layer.bias is not None
    for make, shape, theirs in ((kernel, (4, 4, 24, 32), layer.weight), (bias, (32,), layer.bias)):
        ours = np.asarray(make(jax.random.key(0), shape, jnp.float32))
        rel = 0.05 if theirs.ndim > 1 else 0.4
        assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=rel)
        if name != "orthogonal":
            assert float(np.abs(ours).max()) == pytest.approx(float(theirs.abs().max()), rel=rel)


def test_names_equal_pytorch_names() -> None:
    assert ACTIVATIONS.keys() == hadamax.networks.ACTIVATIONS.keys()


def test_bfloat16_and_gradients() -> None:
    module = QNetwork(build_encoder("hadamax-minatar", (10, 10, 4), 1.0, dtype=jnp.bfloat16), 3)
    network = TorchQNetwork(hadamax.build_encoder("hadamax-minatar", (4, 10, 10), 1.0), 3)
    params = flax_params(network.state_dict(), module.encoder)
    seen = jnp.ones((2, 10, 10, 4), jnp.uint8)
    value, gradients = jax.jit(jax.value_and_grad(lambda p: module.apply({"params": p}, seen).sum()))(params)
    assert value.dtype == jnp.float32
    assert all(g.dtype == jnp.float32 and jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))
    expected = float(network(torch.ones(2, 4, 10, 10)).sum().detach())
    assert float(value) == pytest.approx(expected, abs=0.05)
    assert float(value) != expected  # it computed in lower precision


@pytest.mark.parametrize(
    ("shape", "dtype", "line"),
    [
        ((1, 4, 84, 84), np.uint8, r"\[B, 84, 84, 4\], channels last, got \[1, 4, 84, 84\]; pass jnp.moveaxis"),
        ((1, 84, 84, 4), np.int32, "observations must be uint8 or floating point, got int32"),
    ],
)
def test_wrong_observations_are_errors(shape: tuple[int, ...], dtype: Any, line: str) -> None:
    with pytest.raises((ValueError, TypeError), match=line):
        build_encoder("nature").init(jax.random.key(0), np.zeros(shape, dtype))


def test_wrong_settings_are_errors_at_construction() -> None:
    with pytest.raises(ValueError, match="did you mean"):
        build_encoder("hadamx")
    with pytest.raises(ValueError, match="too small"):
        build_encoder("nature", (12, 12, 4))
    with pytest.raises(ValueError, match=r"has its channels first; expected .*: \(84, 84, 4\)"):
        build_encoder("hadamax", (4, 84, 84))
    with pytest.raises(ValueError, match='activation "tahn" is unknown'):
        build_encoder("nature", activation="tahn")


class Published(nn.Module):
    """The encoder of the published PQN code with Flax's automatic names."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for channels, kernel, window, stride in ((32, 8, 4, 4), (64, 4, 2, 2), (64, 3, 3, 1)):
            both = [nn.Conv(channels, (kernel, kernel), padding="SAME")(x) for _ in range(2)]
            left, right = (nn.gelu(nn.LayerNorm()(y)) for y in both)
            x = nn.max_pool(left * right, (window, window), (stride, stride), padding="SAME")
        return nn.gelu(nn.LayerNorm()(nn.Dense(512)(x.reshape(len(x), -1))))


class NatureCNN(Published):
    """Return the name in the published tree."""


class PublishedQNetwork(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = jnp.transpose(x, (0, 2, 3, 1))
        nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(6, name="action_dense")(NatureCNN()(x / 255.0))


def likely(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Values such as a trained network may have."""
    noise = np.random.default_rng(sum(map(ord, "".join(path)))).normal(size=shape).astype(np.float32)
    if path[0] == "BatchNorm_0":
        return np.full(shape, float(path[1] == "scale"), np.float32)
    if path[-1] == "kernel":
        return noise / np.float32(np.sqrt(np.prod(shape[:-1])))
    return noise / 10 + np.float32(path[-1] == "scale")


@pytest.fixture(scope="module")
def published() -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Variables, observations and values of the published network."""
    network, seen = PublishedQNetwork(), observations((4, 44, 45))
    made = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(seen))
    shapes = {path: value.shape for path, value in flatten_dict(made["params"]).items()}
    params = unflatten_dict({path: likely(path, shape) for path, shape in shapes.items()})
    stats = {"BatchNorm_0": {"mean": np.zeros(4, np.float32), "var": np.ones(4, np.float32)}}
    variables = {"params": params, "batch_stats": stats}
    return variables, seen, np.asarray(jax.jit(network.apply)(variables, seen))


def test_published_tree_loads_into_both(published: tuple[dict[str, Any], np.ndarray, np.ndarray]) -> None:
    variables, seen, values = published
    # The published norm computes the variance as E[x^2] - E[x]^2, which loses some float32 digits.
    close: dict[str, Any] = {"rtol": 2e-5, "atol": 2e-5 * float(np.abs(values).max())}
    network = TorchQNetwork(hadamax.build_encoder("hadamax", (4, 44, 45)), 6)
    for tree in (variables, variables["params"]):
        network.load_state_dict(torch_state(tree, network.encoder))
        np.testing.assert_allclose(network(torch.from_numpy(seen)).detach(), values, **close)
    module = QNetwork(build_encoder("hadamax", (44, 45, 4)), 6)
    params = flax_params(variables, module.encoder)
    np.testing.assert_allclose(jax.jit(module.apply)({"params": params}, to_nhwc(seen)), values, **close)
    # Without conversion.
    inner = {"params": variables["params"]["NatureCNN_0"]}
    features = jax.jit(module.encoder.apply)(inner, to_nhwc(seen))
    expected = network.encoder(torch.from_numpy(seen)).detach()
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
