"""Detection of compilers, traces, dispatch modes, torch.func transforms and forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def can_call_directly(x: Tensor) -> bool:
    """Return True if a kernel can be called directly, without the dispatcher.

    That is, no compiler, trace, functorch transform or dispatch mode is active, which need a registered operator. The
    dispatcher costs more than the arithmetic of a small network.
    """
    return (
        type(x) in (Tensor, nn.Parameter)
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._len_torch_dispatch_stack()
        and forward_ad._current_level < 0
        and not x.is_neg()
    )


def is_transformed() -> bool:
    """Return True under torch.func (grad, jvp, vmap) or forward-mode AD, which the operators do not support."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def tensor_signatures(*tensors: Tensor | None) -> list[tuple[torch.Size, torch.dtype] | None]:
    """Return shapes and dtypes, to detect in a backward pass whether saved-tensor hooks changed a tensor."""
    return [None if tensor is None else (tensor.shape, tensor.dtype) for tensor in tensors]


def needs_differentiable_backward(gradient: Tensor) -> bool:
    """Return True if a backward pass is batched or will itself be differentiated."""
    batched = not can_call_directly(gradient) or torch._C._functorch.is_legacy_batchedtensor(gradient)
    return batched or torch.is_grad_enabled()


F = TypeVar("F", bound=Callable[..., object])


def constant(function: F) -> F:
    """Mark `function` to be called once, when a graph is traced, with its result treated as a constant.

    Equivalent to `torch.compiler.assume_constant_result`, which would import the whole compiler and is slow to load.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
