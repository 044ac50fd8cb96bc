"""The FFT convolution of feature maps against PyTorch's convolution in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.kernels.convolutions import GAIN, layer, off
from torch import Tensor
from torch.autograd import forward_ad

from hadamax.kernels import ConvGeometry, cpu, fft_convolution, map_convolution, map_convolution_obstacle

pytestmark = pytest.mark.end_to_end

SAME = ConvGeometry((1, 1), ((1, 2), (1, 2)))
SIZE = torch.Size((19, 20))
ROUNDING = 2e-6  # of the norm

Form = Callable[[Tensor, Tensor, Tensor | None, ConvGeometry], Tensor]


@pytest.fixture(autouse=True)
def _served(kernel: None, small_maps: None) -> None:
    """Skip without a compiler; check that this case uses the kernel."""
    assert map_convolution_obstacle(SIZE, torch.empty(64, 32, 4, 4), SAME) is None


def plain(x: Tensor, weight: Tensor, bias: Tensor | None, place: ConvGeometry) -> Tensor:
    (top, bottom), (left, right) = place.margins
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, place.stride)


def case(images: int = 8, inputs: int = 32, outputs: int = 64, size: tuple[int, ...] = SIZE) -> list[Tensor]:
    """Return a map, a weight and a bias."""
    weight, bias = layer(outputs, inputs, (4, 4))
    x = torch.randn(images, inputs, *size, generator=torch.Generator().manual_seed(1))
    return [x.contiguous(memory_format=torch.channels_last).requires_grad_(), weight, bias]


def wide(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def is_ours(y: Tensor) -> bool:
    return "_Convolution" in str(y.grad_fn)


@given(data=st.data())
def test_equals_the_plain_form(data: st.DataObject) -> None:
    draw = data.draw
    kernel = tuple(draw(st.integers(1, 9)) for _ in "ab")
    margins = tuple((draw(st.integers(0, 9)), draw(st.integers(0, 9))) for _ in "ab")  # some wider than the kernel
    size = [draw(st.integers(max(k - sum(m), 1), k + 30)) for k, m in zip(kernel, margins, strict=True)]
    weight, bias = layer(32 * draw(st.integers(1, 4)), draw(st.integers(1, 64)), kernel)  # type: ignore[arg-type]
    x = torch.randn(draw(st.integers(8, 11)), weight.shape[1], *size)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    tensors, place = [x, weight, bias], ConvGeometry((1, 1), margins)  # type: ignore[arg-type]
    assert map_convolution_obstacle(x.shape[2:], weight, place) is None
    torch.set_num_threads(draw(st.sampled_from([1, 2])))
    y, expected = map_convolution(*tensors, place), plain(*(exact := wide(tensors)), place)
    assert is_ours(y)
    gradient = torch.randn(y.shape)
    found = torch.autograd.grad(y, tensors, gradient)
    wanted = torch.autograd.grad(expected, exact, gradient.double())
    for ours, theirs in zip((y.detach(), *found), (expected.detach(), *wanted), strict=True):
        assert ours.shape == theirs.shape
        assert off(ours, theirs) < ROUNDING


@pytest.mark.parametrize("kind", ["noise", "flat", "checks", "far from zero"])
def test_error_is_at_most_four_times_pytorchs(kind: str) -> None:
    """At the worst pixel, up to rounding of the largest value."""
    x, weight, bias = case(size=(21, 21))
    with torch.no_grad():
        if kind == "checks":
            x.copy_((-1.0) ** (torch.arange(21)[:, None] + torch.arange(21)))
        elif kind == "flat":
            x.fill_(3.0)
        elif kind == "far from zero":
            x.add_(100.0)
    tensors = [x, weight, bias]
    gradient = torch.randn(plain(*tensors, SAME).shape)
    outputs: list[list[Tensor]] = []
    for form, given_ in ((map_convolution, tensors), (plain, tensors), (plain, wide(tensors))):
        y = form(*given_, SAME)
        outputs.append([y.detach(), *torch.autograd.grad(y, given_, gradient.to(y.dtype))])
    for ours, plainly, expected in zip(*outputs, strict=True):
        error, their_error = (float((tensor.double() - expected).abs().max()) for tensor in (ours, plainly))
        assert error <= 4 * their_error + 16 * torch.finfo(torch.float32).eps * float(expected.abs().max())


def test_only_requested_gradients_are_computed() -> None:
    for wanted in ((True, False, False), (False, True, False), (False, False, True), (True, True, False)):
        tensors = [tensor.detach().requires_grad_(wants) for tensor, wants in zip(case(), wanted, strict=True)]
        leaves = [tensor for tensor in tensors if tensor.requires_grad]
        found = torch.autograd.grad(map_convolution(*tensors, SAME).square().sum(), leaves)
        expected = torch.autograd.grad(plain(*tensors, SAME).square().sum(), leaves)
        for ours, theirs in zip(found, expected, strict=True):
            assert off(ours, theirs.double()) < ROUNDING
    tensors = [tensor.detach() for tensor in case()]
    assert not map_convolution(*tensors, SAME).requires_grad
    x, weight, _ = case()
    torch.testing.assert_close(map_convolution(x, weight, None, SAME), plain(x, weight, None, SAME))


def test_few_input_channels_use_the_plain_input_gradient() -> None:
    tensors = case(inputs=16)
    turned = torch.empty(16, 64, 4, 4)
    if map_convolution_obstacle(SIZE, turned, SAME) is None:
        pytest.skip("here 16 channels are enough")
    y = map_convolution(*tensors, SAME)
    assert is_ours(y)
    found, exact = torch.autograd.grad(y.square().sum(), tensors), wide(tensors)
    expected = torch.autograd.grad(plain(*exact, SAME).square().sum(), exact)
    for ours, theirs in zip(found, expected, strict=True):
        assert off(ours, theirs) < ROUNDING


def test_memory_layouts() -> None:
    """Views, repeated images, no images, channels-last weights."""
    x, weight, bias = (tensor.detach() for tensor in case())
    x = torch.cat([x, x.flip(0)])
    views = {"every other": x[::2], "one": x[1:2], "none": x[:0], "repeated": x[:1].expand(9, -1, -1, -1)}
    views |= {"turned": x.transpose(2, 3), "cut": x[:, :, 1:, :-1], "half": torch.cat([x, x], 1)[:, 16:48]}
    last = weight.contiguous(memory_format=torch.channels_last)
    for name, view in views.items():
        for each in (weight, last):
            tensors = [view.detach().requires_grad_(), each.requires_grad_(), bias]
            y, expected = map_convolution(*tensors, SAME), plain(*tensors, SAME)
            torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4, msg=name)
            pairs = (torch.autograd.grad(z.square().sum(), tensors[:2]) for z in (y, expected))
            for ours, theirs in zip(*pairs, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2, msg=name)


def test_second_derivatives_and_batched_gradients() -> None:
    found = []
    for form, tensors in ((map_convolution, case()), (plain, wide(case()))):
        y = form(*tensors, SAME)
        (first,) = torch.autograd.grad(y.square().sum(), tensors[1], create_graph=True)
        second = torch.autograd.grad(first.square().sum(), tensors, retain_graph=True)
        many = torch.autograd.grad(y, tensors, torch.stack([y.detach(), y.detach().cos()]), is_grads_batched=True)
        found.append([*second, *many])
    for ours, expected in zip(*found, strict=True):
        assert off(ours, expected) < ROUNDING


@pytest.mark.filterwarnings("ignore")  # PyTorch's own deprecation warnings
def test_transforms_compilers_and_autocast_use_pytorch() -> None:
    """Forward differentiation, torch.func, compilers, autocast."""
    x, weight, bias = (tensor.detach() for tensor in case())
    direction = torch.randn_like(weight)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(weight, direction)
        tangent = forward_ad.unpack_dual(map_convolution(x, dual, bias, SAME)).tangent
    torch.testing.assert_close(tangent, plain(x, direction, None, SAME), rtol=1e-4, atol=1e-4)

    def loss(weight: Tensor, x: Tensor, form: Form) -> Tensor:
        return form(x, weight, bias, SAME).square().sum()

    each = [
        torch.vmap(torch.func.grad(loss), (None, 0, None))(weight, x[:, None], form)
        for form in (map_convolution, plain)
    ]
    torch.testing.assert_close(*each, rtol=1e-4, atol=1e-3)
    compiled: Any = torch.compile(lambda x: map_convolution(x, weight, bias, SAME), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), plain(x, weight, bias, SAME))
    with torch.autocast("cpu", torch.bfloat16):
        assert map_convolution(x, weight, bias, SAME).dtype == torch.bfloat16


def test_results_do_not_depend_on_run_or_batch() -> None:
    tensors = case(11)
    torch.set_num_threads(2)
    runs = []
    for _ in range(3):
        y = map_convolution(*tensors, SAME)
        runs.append([y.detach(), *torch.autograd.grad(y.square().sum(), tensors)])
    for again in runs[1:]:
        assert all(torch.equal(*pair) for pair in zip(runs[0], again, strict=True))
    x, *rest = tensors
    assert torch.equal(map_convolution(x[2:10], *rest, SAME), runs[0][0][2:10])
    assert torch.equal(map_convolution(x[:9], *rest, SAME), runs[0][0][:9])


def test_changed_input_is_an_error_in_the_backward_pass() -> None:
    for number in (0, 1):
        tensors = case()
        y = map_convolution(*tensors, SAME)
        with torch.no_grad():
            tensors[number].mul_(0.5)
        with pytest.raises(RuntimeError, match="inplace"):
            y.sum().backward()  # type: ignore[no-untyped-call]


def test_saved_tensors_may_be_copied() -> None:
    tensors = case()
    expected = torch.autograd.grad(plain(*tensors, SAME).square().sum(), tensors)
    for change in (Tensor.contiguous, Tensor.clone):
        with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, change):
            y = map_convolution(*tensors, SAME)
            for ours, theirs in zip(torch.autograd.grad(y.square().sum(), tensors), expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_contiguous_inputs_give_contiguous_outputs() -> None:
    x, weight, bias = case()
    y = map_convolution(x.contiguous(), weight, bias, SAME)
    assert y.is_contiguous()
    assert not is_ours(y)
    negative = [torch._neg_view(tensor.detach()) for tensor in (x, weight, bias)]
    torch.testing.assert_close(map_convolution(*negative, SAME), plain(*negative, SAME))


@pytest.mark.parametrize(
    ("shape", "stride", "word"),
    [
        ((64, 32, 4, 4), (2, 2), "stride"),
        ((64, 32, 3, 3), (1, 1), "too small for an FFT"),
        ((64, 32, 2, 4), (1, 1), "too small for an FFT"),
        ((63, 32, 4, 4), (1, 1), "multiple"),
    ],
)
def test_unsupported_inputs_use_the_plain_form(
    shape: tuple[int, int, int, int], stride: tuple[int, int], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fft_convolution, "GAIN", GAIN)
    weight, bias = layer(shape[0], shape[1], shape[2:])
    x, place = torch.randn(8, shape[1], 19, 19), ConvGeometry(stride, ((1, 2), (0, 1)))
    reason = map_convolution_obstacle(x.shape[2:], weight, place)
    assert reason is not None
    assert word in reason
    assert torch.equal(map_convolution(x, weight, bias, place), plain(x, weight, bias, place))
    double = [tensor.detach().double() for tensor in (x, weight, bias)]
    assert torch.equal(map_convolution(*double, place), plain(*double, place))


def test_wrong_shapes_raise_as_in_pytorch() -> None:
    x, weight, bias = case()
    for wrong in (
        (x[:, :31], weight, bias),
        (x, weight, bias[:63]),
        (x, weight.double(), bias),
        (x[0, 0], weight, bias),
    ):
        with pytest.raises(RuntimeError):
            map_convolution(*wrong, SAME)
    with pytest.raises(RuntimeError):
        map_convolution(x[:, :, :3], weight, bias, ConvGeometry((1, 1), ((0, 0), (0, 0))))
    assert map_convolution(*(tensor.to("meta") for tensor in (x, weight, bias)), SAME).device.type == "meta"


def test_missing_compiler_uses_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = case()
    monkeypatch.setattr(cpu, "load", lambda source, macros: None)
    monkeypatch.setitem(cpu._failures, cpu.ALL, "no compiler")
    assert map_convolution_obstacle(SIZE, tensors[1], SAME) == "no compiler"
    assert torch.equal(map_convolution(*tensors, SAME), plain(*tensors, SAME))


@pytest.mark.parametrize("margins", [((-1, -2), (0, 0)), ((1, 2), (-3, 2)), ((5, 4), (4, 7))])
def test_negative_margins_crop(margins: Any) -> None:
    """In the forward pass for negative margins, in the input gradient for margins wider than the kernel."""
    tensors, place = case(size=(21, 22)), ConvGeometry((1, 1), margins)
    y, expected = map_convolution(*tensors, place), plain(*(exact := wide(tensors)), place)
    gradient = torch.randn(y.shape)
    found = torch.autograd.grad(y, tensors, gradient)
    wanted = torch.autograd.grad(expected, exact, gradient.double())
    for ours, theirs in zip((y.detach(), *found), (expected.detach(), *wanted), strict=True):
        assert off(ours, theirs) < ROUNDING
