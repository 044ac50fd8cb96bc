"""A fused byte convolution and block equals the two in sequence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.kernels.blocks import HADAMAX, KINDS, POOLS
from tests.kernels.convolutions import SAME, layer, needs, observations, off
from torch import Tensor

from hadamax.kernels import ByteConvConfig, ConvBlockConfig, byte_convolution, fused_conv_block, hadamax_block
from hadamax.kernels.byte_convolution import plain_convolution
from hadamax.kernels.reference import reference_block
from hadamax.networks import build_encoder

pytestmark = pytest.mark.end_to_end


@pytest.fixture(autouse=True)
def _served(kernel: None, small_maps: None) -> None:
    """Skip without a compiler."""


def stage_of(dtype: torch.dtype = torch.float32, stride: int = 1) -> ConvBlockConfig:
    config = ByteConvConfig((stride, stride), SAME, 255.0, dtype)
    return ConvBlockConfig(config, HADAMAX.variant((4, 4, 0, 0)))


def weights(channels: int, affine: bool = True) -> list[Tensor | None]:
    weight, bias = layer(channels, 4, (8, 8))
    if not affine:
        return [weight, bias, None, None]
    return [weight, bias, (torch.rand(channels) + 0.5).requires_grad_(), torch.randn(channels).requires_grad_()]


def apart(x: Tensor, tensors: list[Tensor | None], stage: ConvBlockConfig) -> Tensor:
    weight, bias, *norm = tensors
    assert weight is not None
    between = byte_convolution(x, weight, bias, stage.conv)
    return hadamax_block(between, *norm, **stage.block._asdict())


def gradients(y: Tensor, tensors: list[Tensor | None], gradient: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(y, [tensor for tensor in tensors if tensor is not None], gradient))


@given(
    kind=st.sampled_from(KINDS),
    pool=st.sampled_from(POOLS),
    size=st.tuples(st.integers(1, 22), st.integers(1, 22)),
    stride=st.sampled_from([1, 2]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    threads=st.sampled_from([1, 2]),
    affine=st.booleans(),
)
def test_equals_convolution_and_block_in_sequence(
    kind: object, pool: object, size: tuple[int, int], stride: int, dtype: torch.dtype, threads: int, affine: bool
) -> None:
    stage = stage_of(dtype, stride)._replace(block=kind.variant(pool))  # type: ignore[attr-defined]
    tensors = weights(96, affine and stage.block.norm is not None)
    x = observations(9, 4, *size)
    torch.set_num_threads(threads)
    assume(stage.supports(x, *tensors))
    ours, theirs = fused_conv_block(x, *tensors, stage), apart(x, tensors, stage)  # type: ignore[arg-type]
    assert torch.equal(ours, theirs)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(fused_conv_block(x, *tensors, stage), theirs)  # type: ignore[arg-type]
    gradient = torch.randn_like(ours)
    for mine, other in zip(gradients(ours, tensors, gradient), gradients(theirs, tensors, gradient), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


def test_encoder_uses_it_and_computes_the_same_without(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, x = build_encoder("hadamax", (4, 84, 84)), observations(8, 4, 84, 84)
    asked = []
    supports = ConvBlockConfig.supports

    def ask(self: ConvBlockConfig, *tensors: Tensor | None) -> bool:
        asked.append(supports(self, *tensors))  # type: ignore[arg-type]
        return asked[-1]

    monkeypatch.setattr(ConvBlockConfig, "supports", ask)
    y = encoder(x)
    assert asked == [True]
    found = torch.autograd.grad(y.square().sum(), list(encoder.parameters()))
    monkeypatch.setattr(ConvBlockConfig, "supports", lambda *_: False)
    assert torch.equal(encoder(x), y)
    expected = torch.autograd.grad(encoder(x).square().sum(), list(encoder.parameters()))
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_gradients_of_some_and_of_no_parameters() -> None:
    stage, tensors, x = stage_of(), weights(64), observations(8, 4, 20, 20)
    gradient = torch.randn(8, 32, 5, 5)
    everything = gradients(fused_conv_block(x, *tensors, stage), tensors, gradient)  # type: ignore[arg-type]
    for wanted in range(4):
        for number, tensor in enumerate(tensors):
            assert tensor is not None
            tensor.requires_grad_(number == wanted)
        y = fused_conv_block(x, *tensors, stage)  # type: ignore[arg-type]
        assert torch.equal(gradients(y, [tensors[wanted]], gradient)[0], everything[wanted])
    for tensor in tensors:
        assert tensor is not None
        tensor.requires_grad_(False)
    assert not fused_conv_block(x, *tensors, stage).requires_grad  # type: ignore[arg-type]


def test_input_may_be_overwritten_before_the_backward_pass() -> None:
    stage, tensors, x = stage_of(), weights(64), observations(8, 4, 20, 20)
    gradient = torch.randn(8, 32, 5, 5)
    expected = gradients(fused_conv_block(x, *tensors, stage), tensors, gradient)  # type: ignore[arg-type]
    y = fused_conv_block(x, *tensors, stage)  # type: ignore[arg-type]
    x.numpy()[:] = 0
    assert all(map(torch.equal, gradients(y, tensors, gradient), expected))


def test_second_derivatives_and_batched_gradients() -> None:
    stage, x = stage_of(), observations(8, 4, 12, 12)
    stage = stage._replace(block=stage.block._replace(eps=1e-2))
    drawn = [tensor.detach() for tensor in weights(64) if tensor is not None]
    found = []
    for dtype in (torch.float32, torch.float64):
        tensors = [tensor.to(dtype).requires_grad_() for tensor in drawn]
        if dtype == torch.float32:
            y = fused_conv_block(x, *tensors, stage)
        else:
            wide = stage.conv._replace(dtype=dtype)
            y = reference_block(plain_convolution(x, *tensors[:2], wide), *tensors[2:], stage.block)
        (first,) = torch.autograd.grad(y.square().sum(), tensors[0], create_graph=True)
        second = torch.autograd.grad(first.square().sum(), tensors, retain_graph=True)
        many = torch.autograd.grad(y, tensors, torch.stack([y.detach(), y.detach().cos()]), is_grads_batched=True)
        found.append([y.detach(), *second, *many])
    for ours, expected in zip(*found, strict=True):
        assert off(ours, expected) < 1e-4


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (torch.zeros(7, 4, 20, 20, dtype=torch.uint8), "few images"),
        (torch.zeros(8, 5, 20, 20, dtype=torch.uint8), "other channels"),
        (torch.zeros(8, 4, 3, 20, dtype=torch.uint8), "no room for a window"),
        (torch.zeros(8, 4, 20, 20), "no bytes"),
    ],
)
def test_unsupported_inputs_use_the_plain_form(x: Tensor, why: str) -> None:
    assert not stage_of().supports(x, *weights(64)), why


def test_bfloat16_uses_the_kernel() -> None:
    needs(torch.bfloat16)
    assert stage_of(torch.bfloat16).supports(observations(8, 4, 20, 20), *weights(64))
