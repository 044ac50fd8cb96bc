"""The kernels compiled for other processors: AVX2 only, or baseline x86-64, without OpenMP."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest
import torch
from tests.kernels import test_convolution as convolutions
from tests.kernels import test_map_convolution as maps
from tests.kernels.blocks import DTYPES, HADAMAX, Kind, agree, exact, fused, random_case, without_near_ties

from hadamax.kernels import (
    ByteConvConfig,
    build,
    byte_convolution,
    byte_convolution_obstacle,
    cpu,
    map_convolution,
    map_convolution_obstacle,
    shipped,
)

POOLS = (None, (4, 4, 1, 2), (3, 1, 1, 1))


@pytest.fixture(params=["-march=x86-64-v3", "-march=x86-64"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kernel: None) -> Iterator[str]:
    if platform.machine() != "x86_64" or (request.param.endswith("v3") and "avx2" not in shipped.features()):
        pytest.skip("this is another kind of processor")
    monkeypatch.setattr(build, "MACHINE_FLAGS", ((request.param,),))
    monkeypatch.setenv("HADAMAX_KERNELS", "native")
    cpu.reset()
    yield str(request.param)
    cpu.reset()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [HADAMAX, Kind(("tanh", "sigmoid", "relu"), "product", "channels")])
def test_block_equals_the_reference(processor: str, kind: Kind, dtype: torch.dtype) -> None:
    precise = dtype == torch.float32
    for seed, pool in enumerate(POOLS * 3):
        case = random_case(kind.variant(pool, eps=1e-3), (2, 13 + seed, 9, 11), dtype, affine=True, seed=seed)
        case = without_near_ties(case, 1e-5 if precise else 1e-3)
        agree(fused(case), exact(case), 1e-5 if precise else 2**-8)
    assert cpu.failure() is None
    assert build.missing_features(cpu.macros(dtype, kind.variant(None), 0)).startswith("one core only")


@pytest.mark.slow
def test_byte_convolution_equals_the_reference(processor: str) -> None:
    geometry = ByteConvConfig((2, 2), ((3, 4), (3, 4)), 255.0, torch.float32)
    weight, bias = convolutions.layer(64, 4, (8, 8))
    x = convolutions.observations(2, 4, 41, 41)
    obstacle = byte_convolution_obstacle(x.shape[2:], weight, geometry)
    assert (obstacle is None) == processor.endswith("v3"), obstacle
    y = byte_convolution(x, weight, bias, geometry)
    gradient = torch.randn_like(y)
    found = [y.detach(), *torch.autograd.grad(y, (weight, bias), gradient)]
    for ours, theirs in zip(found, convolutions.exact(x, weight, bias, geometry, gradient), strict=True):
        assert convolutions.off(ours, theirs) < convolutions.ROUNDING[torch.float32]


@pytest.mark.slow
def test_map_convolution_equals_the_reference(processor: str) -> None:
    tensors = maps.case()
    assert (map_convolution_obstacle(maps.SIZE, tensors[1], maps.SAME) is None) == processor.endswith("v3")
    y = map_convolution(*tensors, maps.SAME)
    gradient = torch.randn_like(y)
    expected = maps.plain(*(exact_ones := maps.wide(tensors)), maps.SAME)
    found = [y.detach(), *torch.autograd.grad(y, tensors, gradient)]
    wanted = [expected.detach(), *torch.autograd.grad(expected, exact_ones, gradient.double())]
    for ours, theirs in zip(found, wanted, strict=True):
        assert convolutions.off(ours, theirs) < maps.ROUNDING
