"""The block as a PyTorch operator: autograd, memory formats, autocast, compile, determinism."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import pytest
import torch
from tests.kernels.blocks import HADAMAX, call, fused, random_case
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hadamax.kernels import cpu, hadamax_block, operator
from hadamax.networks import build_encoder

pytestmark = pytest.mark.end_to_end

POOL = (2, 2, 0, 1)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 40, 3, bias=False)
        self.weight = nn.Parameter(torch.rand(40) + 0.5)
        self.bias = nn.Parameter(torch.randn(40) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return call(self.convolution(x), self.weight, self.bias, HADAMAX.variant(POOL))


def leaves(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    case = random_case(HADAMAX.variant(POOL), (2, 20, 7, 7), dtype, affine=True, seed=0)
    assert case.weight is not None
    assert case.bias is not None
    return case.x.requires_grad_(), case.weight.requires_grad_(), case.bias.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pool", [None, POOL, (3, 1, 1, 1)])
def test_operator_check(kernel: None, pool, dtype: torch.dtype) -> None:
    settings = ("gelu_tanh,gelu_tanh", "product", "channels", 1e-6, list(pool or ()))
    torch.library.opcheck(operator._forward, (*leaves(dtype), *settings))
    x, _, _ = leaves(dtype)
    torch.library.opcheck(operator._forward, (x, None, None, *settings))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("affine", [True, False])
def test_direct_call_equals_the_registered_operator(kernel: None, dtype: torch.dtype, affine: bool) -> None:
    """Dispatch modes see the registered operator; without one the kernel is called directly."""
    found = []
    for watching in (contextlib.nullcontext(), FlopCounterMode(display=False)):
        inputs = leaves(dtype)[: 3 if affine else 1]
        with watching:
            y = call(*inputs, *(None,) * (3 - len(inputs)), HADAMAX.variant(POOL))
            y.backward(torch.arange(y.numel()).reshape(y.shape).to(dtype))
        found.append((y.grad_fn.name(), y.detach(), *(one.grad for one in inputs)))
    (direct, *ours), (operator_, *theirs) = found
    assert direct != operator_
    for one, same in zip(ours, theirs, strict=True):
        assert torch.equal(one, same)


def test_second_backward_through_the_same_graph(kernel: None) -> None:
    x, weight, bias = leaves()
    y = call(x, weight, bias, HADAMAX.variant(POOL))
    first = torch.autograd.grad(y.sum(), (x, weight, bias), retain_graph=True)
    second = torch.autograd.grad(y.sum(), (x, weight, bias))
    assert all(map(torch.equal, first, second))


def test_memory_formats_of_input_and_gradient(kernel: None) -> None:
    """Inputs and gradients may be contiguous instead of channels-last, as after a flatten."""
    found = []
    for input_format in (torch.contiguous_format, torch.channels_last):
        for gradient_format in (torch.contiguous_format, torch.channels_last):
            x, weight, bias = leaves()
            laid_out = x.detach().contiguous(memory_format=input_format).requires_grad_()
            y = call(laid_out, weight, bias, HADAMAX.variant(POOL))
            assert y.is_contiguous(memory_format=torch.channels_last)
            gradient = torch.arange(y.numel()).reshape(y.shape).float().contiguous(memory_format=gradient_format)
            y.backward(gradient)
            assert laid_out.grad is not None
            found.append((y.detach(), laid_out.grad, weight.grad, bias.grad))
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert torch.equal(one, same)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pool", [POOL, (3, 1, 1, 1)])
def test_bit_for_bit_repeatable(kernel: None, pool, dtype: torch.dtype, threads: int) -> None:
    torch.set_num_threads(threads)
    case = random_case(HADAMAX.variant(pool), (16, 20, 21, 21), dtype, affine=True, seed=5)
    first = fused(case)
    for _ in range(3):
        for one, same in zip(first, fused(case), strict=True):
            assert torch.equal(one, same)


def test_images_are_independent(kernel: None) -> None:
    """An image gives the same bits alone and in a batch."""
    case = random_case(HADAMAX.variant(POOL), (5, 20, 9, 9), torch.float32, affine=True, seed=6)
    batch = call(case.x, case.weight, case.bias, case.variant)
    alone = [call(x[None], case.weight, case.bias, case.variant) for x in case.x]
    assert torch.equal(batch, torch.cat(alone))


@pytest.mark.parametrize("threads", [1, 2])
def test_gradient_larger_than_the_caches(kernel: None, threads: int) -> None:
    """Streaming stores give each image the same gradient as alone."""
    torch.set_num_threads(threads)
    case = random_case(HADAMAX.variant((4, 4, 0, 0)), (20, 32, 86, 84), torch.float32, affine=True, seed=7)
    assert case.x.nbytes > 2**25
    together = fused(case).to_x
    for image in (0, 19):
        one = slice(image, image + 1)
        alone = fused(case._replace(x=case.x[one], gradient=case.gradient[one])).to_x
        assert torch.equal(together[one], alone)


def test_no_images(kernel: None) -> None:
    x = torch.zeros(0, 40, 6, 6, requires_grad=True)
    y = call(x, torch.ones(40), None, HADAMAX.variant(POOL))
    y.sum().backward()
    assert y.shape == (0, 20, 3, 3)
    assert x.grad is not None


def test_autocast_keeps_the_affine_parameters_in_float32(kernel: None) -> None:
    block = Block()
    with torch.autocast("cpu", torch.bfloat16):
        y = block(torch.randn(2, 3, 9, 9))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert block.weight.grad is not None
    assert block.weight.grad.dtype == torch.float32


def test_parameters_in_bfloat16(kernel: None) -> None:
    x, weight, bias = (leaf.detach().bfloat16().requires_grad_() for leaf in leaves())
    call(x, weight, bias, HADAMAX.variant(POOL)).sum().backward()
    assert all(leaf.grad is not None and leaf.grad.dtype == torch.bfloat16 for leaf in (x, weight, bias))


def test_copies_and_state(kernel: None) -> None:
    block, x = Block(), torch.randn(2, 3, 9, 9)
    twin = copy.deepcopy(block)
    other = Block()
    other.load_state_dict(block.state_dict())
    assert torch.equal(block(x), twin(x))
    assert torch.equal(block(x), other(x))


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.filterwarnings("ignore")  # torch.compile's own warnings
def test_compiles_without_a_graph_break(kernel: None, built: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not built:
        monkeypatch.setattr(cpu, "library", lambda *_: None)
    torch.compiler.reset()
    block = Block()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    for images, size in ((2, 9), (3, 9), (3, 12)):  # later sizes are new to the graph
        x = torch.randn(images, 3, size, size)
        wanted = torch.autograd.grad(block(x).square().sum(), list(block.parameters()))
        found = torch.autograd.grad(compiled(x).square().sum(), list(block.parameters()))
        for one, same in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, same)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiles_with_inductor(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor, which compiles what is around the operator."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    block = Block()
    x = torch.randn(2, 3, 9, 9)
    wanted = torch.autograd.grad(block(x).square().sum(), list(block.parameters()))
    found = torch.autograd.grad(torch.compile(block, fullgraph=True)(x).square().sum(), list(block.parameters()))
    for one, same in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, same)


@pytest.mark.filterwarnings("ignore")
def test_compiles_for_dynamic_map_sizes(kernel: None) -> None:
    """A symbolic size makes the padding of a pool symbolic too."""
    torch.compiler.reset()
    block = build_encoder("hadamax-fast", width=0.5).blocks[1]
    compiled = torch.compile(block, dynamic=True, fullgraph=True, backend="aot_eager")
    for size in (20, 25, 21):
        x = torch.randn(2, 16, size, size)
        torch.testing.assert_close(compiled(x), block(x))


def test_operator_without_a_kernel_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "library", lambda *_: None)
    with pytest.raises(RuntimeError, match="hadamax::block has no kernel"):
        operator.fused_block(*leaves(), HADAMAX.variant(POOL))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activations": ("tanh",)}, "one for each of 2 branches"),
        ({"activations": ("tanh", "tan")}, "'tan' is unknown; expected one of gelu,"),
        ({"combine": "mean"}, "combine: 'mean' is unknown; expected one of product, sum"),
        ({"norm": "batch"}, "norm: 'batch' is unknown"),
        ({"norm": None}, "weight: expected None, because there is no norm"),
        ({"branches": 3, "activations": ("tanh",) * 3}, r"expected \[N, 3 \* C, H, W\], got \[2, 40, 7, 7\]"),
        ({"pool": (9, 9, 0, 0)}, "a window of 9 does not fit"),
        ({"pool": (2, 0, 0, 0)}, "pool: expected"),
        ({"weight": torch.ones(20)}, r"weight: expected \[40\], got \[20\]"),
        ({"weight": torch.ones(40, device="meta")}, "weight: expected on cpu, like x, got meta"),
    ],
)
def test_invalid_inputs_are_errors(change: dict, said: str) -> None:
    x, weight, _ = leaves()
    arguments = {"weight": weight, "bias": None, **HADAMAX.variant(POOL)._asdict(), **change}
    with pytest.raises(ValueError, match=said):
        hadamax_block(x, **arguments)


def negated(tensor: Tensor) -> Tensor:
    """Return a lazily negated view of the tensor."""
    view = torch._neg_view(tensor)
    assert view.is_neg()
    return view


def test_negative_views_are_resolved(kernel: None) -> None:
    x, weight, bias = leaves()
    variant = HADAMAX.variant(POOL)
    for arguments in ((x, negated(weight), bias), (x, weight, negated(bias)), (negated(x), weight, bias)):
        torch.testing.assert_close(call(*arguments, variant), call(*(t.resolve_neg() for t in arguments), variant))
    y = call(x, weight, bias, variant)
    gradient = torch.randn(y.shape)
    found = torch.autograd.grad(y, (x, weight, bias), negated(gradient), retain_graph=True)
    for ours, theirs in zip(found, torch.autograd.grad(y, (x, weight, bias), -gradient), strict=True):
        torch.testing.assert_close(ours, theirs)
