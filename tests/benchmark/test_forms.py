"""The implementations that the benchmark compares compute the same network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hadamax.benchmark.doctor import serving
from hadamax.benchmark.plain import PLAIN
from hadamax.benchmark.products import fastest, fft_of_bytes, fft_of_maps, job, layers_of
from hadamax.kernels import ByteConvConfig, ConvGeometry, byte_convolution_obstacle, map_convolution_obstacle
from hadamax.networks import Encoder, build_encoder

pytestmark = pytest.mark.kernels

ENCODERS = sorted(PLAIN)


def randomised(name: str) -> Encoder:
    """Build an encoder with random norm parameters."""
    torch.manual_seed(0)
    encoder = build_encoder(name)
    for parameter in encoder.parameters():
        if parameter.dim() < 3:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return encoder


def layers(encoder: Encoder) -> list[Any]:
    return [*(block.layer for block in encoder.blocks), *encoder.dense]


def observations(rows: int = 2) -> Tensor:
    return torch.randint(256, (rows, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ENCODERS)
def test_plain_form_computes_the_same(name: str) -> None:
    ours, plain = randomised(name), PLAIN[name]()
    products = [m for m in plain.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    norms = [m for m in plain.modules() if isinstance(m, torch.nn.LayerNorm)]
    weights = [w for layer in layers(ours) for w in zip(*_branches(layer), strict=True)]
    assert len(products) == len(norms) == len(weights)
    for product, norm, (weight, bias, scale, shift) in zip(products, norms, weights, strict=True):
        product.weight.data, product.bias.data, norm.weight.data, norm.bias.data = weight, bias, scale, shift
    with torch.no_grad():
        torch.testing.assert_close(plain(observations()), ours(observations()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_flax_form_computes_the_same(name: str) -> None:
    pytest.importorskip("flax", reason="JAX and Flax are not installed: pip install 'hadamax-rl[flax]'")
    import jax.numpy as jnp
    import numpy as np

    from hadamax.benchmark.flax_form import NETWORKS

    ours = randomised(name)
    parameters: dict[str, Any] = {}
    convolutions = norms = 0
    for layer in layers(ours):
        for weight, bias, scale, shift in zip(*_branches(layer), strict=True):
            if weight.dim() == 4:
                kernel, key = weight.permute(2, 3, 1, 0), f"Conv_{convolutions}"
                convolutions += 1
            else:
                kernel, key = weight.T, "Dense_0"
            parameters[key] = {"kernel": np.asarray(kernel), "bias": np.asarray(bias)}
            parameters[f"LayerNorm_{norms}"] = {"scale": np.asarray(scale), "bias": np.asarray(shift)}
            norms += 1
    pixels = jnp.asarray(observations().permute(0, 2, 3, 1).numpy()) / 255.0
    features = NETWORKS[name](jnp.float32).apply({"params": parameters}, pixels)
    with torch.no_grad():
        wanted = ours(observations())
    torch.testing.assert_close(torch.from_numpy(np.asarray(features).copy()), wanted, rtol=1e-4, atol=1e-4)


def _branches(layer: Any) -> list[Any]:
    """Return weight, bias and norm per branch."""
    k = layer.branches
    return [layer.weight.data.chunk(k), layer.bias.data.chunk(k), layer.norm.weight.data, layer.norm.bias.data]


@pytest.mark.parametrize(("name", "millions"), [("hadamax", 157.0), ("nature-norm", 9.34)])
def test_multiply_accumulates_match_the_architecture(name: str, millions: float) -> None:
    """Multiply-accumulates per sample from the architecture: 84 x 84 x 64 x 4 x 64 + ..."""
    found = sum(layer.multiply_accumulates for layer in layers_of(name)) / 1e6
    assert found == pytest.approx(millions, rel=0.005)


def test_unsupported_encoder_is_an_error() -> None:
    with pytest.raises(ValueError, match="impala: only encoders of plain convolution blocks"):
        layers_of("impala")


@pytest.mark.parametrize("backward", [False, True])
def test_matrix_products_run_in_every_form(backward: bool) -> None:
    layer = layers_of("hadamax")[2]
    name, run = fastest(layer, 1, torch.float32, backward)
    assert name.split(", ")[0] in ("channels_last", "contiguous")
    run()
    apart = job(layer, 1, torch.float32, backward, "channels_last", 2)
    with torch.profiler.profile() as profile:
        apart()
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::conv2d"] == 2
    assert calls.get("aten::convolution_backward", 0) == 2 * backward


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_first_convolution_is_also_tried_as_fft(dtype: torch.dtype) -> None:
    (said, *_) = serving(build_encoder("hadamax"), dtype)
    first = layers_of("hadamax")[0]
    geometry = ByteConvConfig((1, 1), ((0, 0), (0, 0)), 255.0, dtype)
    weight = torch.randn(64, 4, 8, 8)
    if byte_convolution_obstacle(torch.Size(first.size), weight, geometry) is not None:
        assert said.startswith("convolution 1: PyTorch's: ")
        pytest.skip("no such kernel here")
    assert said == "convolution 1: FFT, C++"
    for backward in (False, True):
        run = fft_of_bytes(first, 1, weight, geometry, backward)
        with torch.profiler.profile() as profile:
            run()
        assert not any(event.key == "aten::conv2d" for event in profile.key_averages())


def test_later_convolutions_are_tried_as_fft_in_float32() -> None:
    second, weight = layers_of("hadamax")[1], torch.randn(128, 32, 4, 4)
    served = map_convolution_obstacle(torch.Size(second.size), weight, ConvGeometry((1, 1), ((0, 0), (0, 0)))) is None
    for dtype in (torch.float32, torch.bfloat16):
        said = serving(build_encoder("hadamax"), dtype)
        assert ("convolution 2: FFT, C++" in said) == (served and dtype == torch.float32)
    if not served:
        pytest.skip("no such kernel here")
    for backward in (False, True):
        run = fft_of_maps(second, 8, weight, backward)
        with torch.profiler.profile() as profile:
            run()
        assert not {"aten::conv2d", "aten::convolution_backward"} & {event.key for event in profile.key_averages()}
