"""Who else sees a call: compilers, traces, modes, the transforms of torch.func, forward differentiation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def is_plain(x: Tensor) -> bool:
    """Whether nobody watches: no compiler, trace, transform or mode, whom only a registered operator serves.

    Going through one costs more than a small network's arithmetic.
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
    """Whether torch.func (grad, jvp, vmap) or forward differentiation is at work, which an operator does not serve."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def looks(*tensors: Tensor | None) -> list[tuple[torch.Size, torch.dtype] | None]:
    """Shapes and dtypes, by which a backward pass sees whether a hook gave back what was kept for it."""
    return [None if tensor is None else (tensor.shape, tensor.dtype) for tensor in tensors]


def is_watched(gradient: Tensor) -> bool:
    """Whether a backward pass is for more than plain gradients: many at once, or to be differentiated again."""
    batched = not is_plain(gradient) or torch._C._functorch.is_legacy_batchedtensor(gradient)
    return batched or torch.is_grad_enabled()
