"""The FFT convolution of bytes against PyTorch's convolution in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.kernels.convolutions import ROUNDING, SAME, exact, layer, needs, observations, obstacle, off, plain
from torch import Tensor
from torch.autograd import forward_ad

from hadamax.kernels import ByteConvConfig, byte_convolution, byte_convolution_obstacle
from hadamax.kernels.fft_convolution import FftConvolution


@pytest.fixture(autouse=True)
def _served(kernel: None, small_maps: None) -> None:
    """Skip without a compiler; check that float32 uses the kernel."""
    assert obstacle(torch.float32) is None


@given(data=st.data(), dtype=st.sampled_from(list(ROUNDING)))
def test_equals_the_plain_form(data: st.DataObject, dtype: torch.dtype) -> None:
    needs(dtype)
    draw = data.draw
    stride = draw(st.sampled_from([1, 2, 3]))
    kernel = tuple(draw(st.integers(1, 9 * stride)) for _ in "ab")
    margins = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in "ab")
    size = [draw(st.integers(max(k - sum(m), 1), k + 50)) for k, m in zip(kernel, margins, strict=True)]
    config = ByteConvConfig((stride, stride), margins, draw(st.sampled_from([255.0, 1.0])), dtype)  # type: ignore[arg-type]
    channels = FftConvolution(torch.uint8, dtype)._loaded().hadamax_convolution_channels()
    weight, bias = layer(channels * draw(st.integers(1, 3)), draw(st.integers(1, 5)), kernel)  # type: ignore[arg-type]
    x = observations(draw(st.integers(1, 3)), weight.shape[1], *size)
    assert byte_convolution_obstacle(x.shape[2:], weight, config) is None
    torch.set_num_threads(draw(st.sampled_from([1, 2])))
    y = byte_convolution(x, weight, bias, config)
    assert y.dtype == dtype
    gradient = torch.randn(y.shape).to(dtype)
    found = [y.detach(), *torch.autograd.grad(y, (weight, bias), gradient)]
    for ours, expected in zip(found, exact(x, weight, bias, config, gradient), strict=True):
        assert off(ours, expected) < ROUNDING[dtype]


@pytest.mark.parametrize("rows", [1, 16, 17, 18, 34, 35])
@pytest.mark.parametrize("columns", [1, 17, 69])
def test_any_number_of_tiles(rows: int, columns: int) -> None:
    """A tile gives 17 x 17 outputs and four are computed together; sizes cover partial tiles and groups."""
    weight, bias = layer(64, 3, (8, 8))
    config = ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    x, gradient = observations(2, 3, rows, columns), torch.randn(2, 64, rows, columns)
    kernel = FftConvolution(torch.uint8, torch.float32)
    y = kernel.forward(x, weight.detach(), bias.detach(), config.geometry, 1 / config.scale)
    found = [y, *kernel.gradients(gradient, x, weight.shape, config.geometry, 1 / config.scale)]
    for ours, expected in zip(found, exact(x, weight, bias, config, gradient), strict=True):
        assert off(ours, expected) < ROUNDING[torch.float32]


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("kind", ["noise", "black", "white", "checks", "a game"])
def test_error_is_at_most_twice_pytorchs(kind: str, dtype: torch.dtype) -> None:
    """In the norm and at the worst pixel, up to rounding of the largest value."""
    needs(dtype)
    x = observations(2, 4, 84, 84)
    if kind == "checks":  # differences of 510, not exact in bfloat16
        x = (255 * (torch.arange(84)[:, None] + torch.arange(84)) % 510).to(torch.uint8).expand_as(x).contiguous()
    elif kind == "a game":  # constant except for a few objects
        x = torch.where(x[:, :, ::7, ::7].repeat_interleave(7, 2).repeat_interleave(7, 3) > 200, x, 87)
    elif kind != "noise":
        x.fill_(0 if kind == "black" else 255)
    weight, bias = layer(64, 4, (8, 8))
    config = ByteConvConfig((1, 1), SAME, 255.0, dtype)
    ours = byte_convolution(x, weight, bias, config)
    gradient = torch.randn(ours.shape).to(dtype)
    narrow = [tensor.detach().to(dtype).requires_grad_() for tensor in (weight, bias)]
    theirs = plain(x, narrow[0], narrow[1], config)
    found = [ours.detach(), *torch.autograd.grad(ours, (weight, bias), gradient)]
    other = [theirs.detach(), *torch.autograd.grad(theirs, narrow, gradient)]
    for mine, plainly, expected in zip(found, other, exact(x, weight, bias, config, gradient), strict=True):
        largest, unit = expected.abs().max(), torch.finfo(dtype).eps
        error, their_error = ((tensor.double() - expected).abs().max() for tensor in (mine, plainly))
        assert error <= 2 * their_error + 4 * unit * largest


def test_channels_and_planes_are_independent() -> None:
    """Each is as accurate as alone, however large or NaN the others are."""
    weight, bias = layer(64, 4, (8, 8))
    config = ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    x, gradient = observations(2, 4, 34, 34), torch.randn(2, 64, 34, 34)
    x[:, 2] //= 200  # an almost black plane
    with torch.no_grad():
        weight[5] *= 1e6
    gradient[:, 7] *= 1e6
    y = byte_convolution(x, weight, bias, config)
    assert "_Convolution" in str(y.grad_fn)
    found = [y.detach().transpose(0, 1), torch.autograd.grad(y, weight, gradient)[0].flatten(0, 1)]
    to_y, to_weight, _ = exact(x, weight, bias, config, gradient)
    wanted = to_y.transpose(0, 1), to_weight.flatten(0, 1)  # of a channel; of a channel and a plane
    each = [pair for both in zip(found, wanted, strict=True) for pair in zip(*both, strict=True)]
    assert max(off(ours, theirs) for ours, theirs in each) < 2e-5
    with torch.no_grad():
        weight[5, 1, 2, 3] = torch.nan
    y = byte_convolution(x, weight, bias, config)
    assert set(range(64)) - set(y.isfinite().all(3).all(2).all(0).nonzero().flatten().tolist()) == {5}


def test_overlapping_stacks_and_memory_layouts() -> None:
    frames = observations(6, 5, 30, 28)
    weight, bias = layer(64, 4, (8, 8))
    config = ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    views = {"later": frames[:, 1:], "every other": frames[::2, :4], "one": frames[3:4, 1:], "none": frames[:0, 1:]}
    views["overlapping"] = observations(7, 30, 28).unfold(0, 4, 1).permute(0, 3, 1, 2)[:3]  # fewer images than channels
    views |= {"repeated": frames[:1, :4].expand(3, -1, -1, -1), "turned": frames[:, :4].transpose(2, 3)}
    for name, view in views.items():
        found = byte_convolution(view, weight, bias, config)
        gradients = torch.autograd.grad(found.sum(), (weight, bias))
        expected = plain(view, weight, bias, config)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=name)
        for ours, theirs in zip(gradients, torch.autograd.grad(expected.sum(), (weight, bias)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3, msg=name)


def test_channels_last_weight_without_bias() -> None:
    weight, _ = layer(64, 4, (8, 8))
    last = weight.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    x, config = observations(2, 4, 42, 42), ByteConvConfig((2, 2), ((3, 3), (3, 3)), 255.0, torch.float32)
    found = [byte_convolution(x, each, None, config) for each in (weight, last)]
    assert torch.equal(*found)
    gradients = [torch.autograd.grad(y.square().sum(), each)[0] for y, each in zip(found, (weight, last), strict=True)]
    assert torch.equal(*gradients)
    torch.testing.assert_close(found[0], plain(x, weight, None, config), rtol=1e-4, atol=1e-5)


def test_input_may_be_overwritten_before_the_backward_pass() -> None:
    weight, bias = layer(64, 4, (8, 8))
    x, config = observations(2, 4, 17, 17), ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    expected = torch.autograd.grad(byte_convolution(x, weight, bias, config).sum(), weight)[0]
    y = byte_convolution(x, weight, bias, config)
    x.numpy()[:] = 0  # as an emulator does, without PyTorch's version counter
    assert torch.equal(torch.autograd.grad(y.sum(), weight)[0], expected)


def test_second_derivatives_and_batched_gradients() -> None:
    weight, bias = layer(64, 4, (8, 8))
    x, config = observations(2, 4, 17, 17), ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    found = []
    for form, dtype in ((byte_convolution, torch.float32), (plain, torch.float64)):
        parameters = [tensor.detach().to(dtype).requires_grad_() for tensor in (weight, bias)]
        y = form(x, *parameters, config)
        (first,) = torch.autograd.grad(y.square().sum(), parameters[0], create_graph=True)
        second = torch.autograd.grad(first.square().sum(), parameters, retain_graph=True)
        many = torch.autograd.grad(y, parameters, torch.stack([y.detach(), y.detach().cos()]), is_grads_batched=True)
        found.append([*second, *many])
    for ours, expected in zip(*found, strict=True):
        assert off(ours, expected) < 1e-6


@pytest.mark.filterwarnings("ignore")  # PyTorch's own deprecation warnings
def test_forward_mode_inference_mode_and_no_grad() -> None:
    weight, bias = layer(64, 4, (8, 8))
    x, config = observations(2, 4, 17, 17), ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    direction = torch.randn_like(weight)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(weight.detach(), direction)
        tangent = forward_ad.unpack_dual(byte_convolution(x, dual, bias.detach(), config)).tangent
    torch.testing.assert_close(tangent, plain(x, direction, None, config), rtol=1e-4, atol=1e-4)
    expected = byte_convolution(x, weight, bias, config)
    with torch.inference_mode():
        seen = x.clone()
        assert torch.equal(byte_convolution(seen, weight, bias, config), expected)
    byte_convolution(seen, weight, bias, config).sum().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad(), torch.profiler.profile() as profile:
        assert not byte_convolution(x, weight, bias, config).requires_grad
    assert "aten::clone" not in {event.key for event in profile.key_averages()}


def test_weight_may_change_before_the_backward_pass() -> None:
    """The weight's gradient does not depend on the weight."""
    weight, bias = layer(64, 4, (8, 8))
    x, config = observations(2, 4, 17, 17), ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    expected = torch.autograd.grad(byte_convolution(x, weight, bias, config).sum(), weight)[0]
    y = byte_convolution(x, weight, bias, config)
    with torch.no_grad():
        weight.mul_(0.5)
    assert torch.equal(torch.autograd.grad(y.sum(), weight)[0], expected)


@pytest.mark.parametrize(
    ("x", "channels", "error"),
    [
        (torch.zeros(2, 4, 20, 20), 4, TypeError),
        (torch.zeros(2, 5, 20, 20, dtype=torch.uint8), 4, RuntimeError),
        (torch.zeros(2, 4, 20, 7, dtype=torch.uint8), 4, RuntimeError),
        (torch.zeros(2, 4, 3, 20, dtype=torch.uint8), 4, RuntimeError),
        (torch.zeros(4, 20, 20, dtype=torch.uint8), 4, Exception),
    ],
)
def test_wrong_shapes_raise_as_in_pytorch(x: Tensor, channels: int, error: type[Exception]) -> None:
    weight, bias = layer(64, channels, (8, 8))
    config = ByteConvConfig((1, 1), ((0, 0), (0, 0)), 255.0, torch.float32)
    with pytest.raises(error):
        byte_convolution(x, weight, bias, config)
    with pytest.raises(RuntimeError):
        byte_convolution(observations(2, 4, 20, 20), weight, bias[:63], config)
    elsewhere = torch.zeros(2, 4, 20, 20, dtype=torch.uint8, device="meta")
    assert byte_convolution(elsewhere, weight, bias, config).device.type == "meta"  # the meta device has no data


def test_results_do_not_depend_on_run_or_batch() -> None:
    weight, bias = layer(64, 4, (8, 8))
    x, config = observations(5, 4, 30, 30), ByteConvConfig((1, 1), SAME, 255.0, torch.float32)
    runs: list[Any] = []
    for _ in range(3):
        torch.set_num_threads(2)
        y = byte_convolution(x, weight, bias, config)
        runs.append([y.detach(), *torch.autograd.grad(y.square().sum(), (weight, bias))])
    for again in runs[1:]:
        assert all(torch.equal(*pair) for pair in zip(runs[0], again, strict=True))
    one_by_one = torch.cat([byte_convolution(x[i : i + 1], weight, bias, config) for i in range(5)])
    assert torch.equal(one_by_one, runs[0][0])
