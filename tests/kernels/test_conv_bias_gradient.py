"""A convolution whose bias gradient is summed separately equals PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels.conv_bias_gradient import conv2d


def tensors(*, stride: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(stride)
    x = torch.randn(9, 5, 13, 11, generator=generator)
    weight, bias = torch.randn(6, 5, 4, 3, generator=generator), torch.randn(6, generator=generator)
    return tuple(t.requires_grad_() for t in (x, weight, bias))  # type: ignore[return-value]


def summed_apart(y: Tensor) -> bool:
    return type(y.grad_fn).__name__ == "_SeparateBiasGradientBackward"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_float64(stride: int, layout: torch.memory_format) -> None:
    x, weight, bias = (t.detach() for t in tensors(stride=stride))
    given = (x.contiguous(memory_format=layout).requires_grad_(), weight.requires_grad_(), bias.requires_grad_())
    exact = [t.detach().double().requires_grad_() for t in given]
    y, expected = (conv2d(*t, (stride, stride), (1, 2)) for t in (given, exact))
    assert summed_apart(y)
    assert not summed_apart(expected)  # float64 uses PyTorch's convolution
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    gradient = torch.randn_like(y)
    found = torch.autograd.grad(y, given, gradient)
    for g, e in zip(found, torch.autograd.grad(expected, exact, gradient.double()), strict=True):
        torch.testing.assert_close(g.double(), e, rtol=1e-5, atol=1e-5 * float(e.abs().max()))


@pytest.mark.parametrize("wanted", [(2,), (1, 2), (0, 2)])
def test_unneeded_gradients_are_not_computed(wanted: tuple[int, ...]) -> None:
    given = [t.requires_grad_(i in wanted) for i, t in enumerate(t.detach() for t in tensors())]
    y = conv2d(*given, (2, 2), (0, 0))
    y.square().sum().backward()
    assert [t.grad is not None for t in given] == [i in wanted for i in range(3)]
    torch.testing.assert_close(given[2].grad, 2 * y.detach().sum((0, 2, 3)), rtol=1e-5, atol=1e-3)


def test_second_derivatives() -> None:
    both = []
    for form in (conv2d, F.conv2d):
        given = tensors()
        y = form(*given, (2, 2), (1, 1))
        first = torch.autograd.grad(y.tanh().sum(), given, create_graph=True)
        both.append(torch.autograd.grad(sum(g.square().sum() for g in first), given))
    for found, expected in zip(*both, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_batched_gradients() -> None:
    both = []
    for form in (conv2d, F.conv2d):
        given = tensors()
        y = form(*given, (2, 2), (1, 1))
        gradients = torch.randn((3, *y.shape), generator=torch.Generator().manual_seed(0))
        both.append(torch.autograd.grad(y, given, gradients, is_grads_batched=True))
    for found, expected in zip(*both, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_dispatch_modes_see_pytorchs_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = tensors()
    with torch.no_grad():
        assert conv2d(x, weight, bias, (2, 2), (0, 0)).grad_fn is None
    assert not summed_apart(conv2d(x, weight, None, (2, 2), (0, 0)))
    assert not summed_apart(conv2d(x, weight, bias.detach(), (2, 2), (0, 0)))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv2d(x, weight, bias, (2, 2), (0, 0)).dtype == torch.bfloat16
    found = torch.func.grad(lambda b: conv2d(x, weight, b, (2, 2), (0, 0)).sum())(bias.detach())
    torch.testing.assert_close(found, torch.full((6,), 9.0 * 5 * 5))
    monkeypatch.setenv("HADAMAX_KERNELS", "reference")
    assert not summed_apart(conv2d(x, weight, bias, (2, 2), (0, 0)))


def test_output_may_be_changed_in_place() -> None:
    x, weight, bias = tensors()
    y = conv2d(x, weight, bias, (2, 2), (0, 0))
    y.relu_().sum().backward()
    torch.testing.assert_close(bias.grad, (F.conv2d(x, weight, bias, 2) > 0).sum((0, 2, 3)).float())
