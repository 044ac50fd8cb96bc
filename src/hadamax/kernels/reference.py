"""The Hadamax block in plain PyTorch: its definition, and what serves every variant that has no fused form.

For each branch: normalise, activate; then multiply (or add) the branches and take the maximum of each window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels.variant import Variant
from hadamax.kernels.watchers import is_transformed

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "selu": F.selu,
}


def reference_block(x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: Variant) -> Tensor:
    """The block on [N, branches * C, H, W] -> [N, C, H', W'] of x's dtype, channels-last.

    Computed in x's precision, or in float32 where that is less: bfloat16 is rounded once, at the end, so the
    maximum is chosen between unrounded values. The first maximum of a window gets the gradient; NaN counts as
    the largest.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    weights = _split(weight, variant.branches, wide.dtype)
    biases = _split(bias, variant.branches, wide.dtype)
    branches = [
        ACTIVATIONS[activation](_normalise(branch, weights[i], biases[i], variant))
        for i, (branch, activation) in enumerate(
            zip(wide.chunk(variant.branches, dim=1), variant.activations, strict=True)
        )
    ]
    combined = reduce(torch.mul if variant.combine == "product" else torch.add, branches)
    pooled = combined if variant.pool is None else _max_pool(combined, *variant.pool)
    y = pooled.to(x.dtype)
    return y if is_transformed() else y.contiguous(memory_format=torch.channels_last)  # unknown within a vmap


def gradients_of(form: Callable[..., Tensor], inputs: Sequence[Tensor | None], gradient: Tensor) -> list[Tensor | None]:
    """Of a plain form's inputs, from that of its output; they can be differentiated where gradients are recorded."""
    again = torch.is_grad_enabled()

    def cut(tensor: Tensor) -> Tensor:
        """From where it came, so that what x owes to an earlier use of the weight is not counted here."""
        return tensor.view_as(tensor) if again and tensor.requires_grad else tensor.detach().requires_grad_()

    with torch.enable_grad():
        own = [None if tensor is None else cut(tensor) for tensor in inputs]
        wanted = [tensor for tensor in own if tensor is not None]
        found = iter(torch.autograd.grad(form(*own), wanted, gradient, create_graph=again))
    return [None if tensor is None else next(found) for tensor in own]


def _split(affine: Tensor | None, branches: int, dtype: torch.dtype) -> list[Tensor | None]:
    return [None] * branches if affine is None else list(affine.to(dtype).chunk(branches))


def _normalise(x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: Variant) -> Tensor:
    """One branch [N, C, H, W], over channels at each pixel or over the map; one scale and bias a channel."""
    if variant.norm is None:
        return x
    if variant.norm == "channels":
        last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), weight, bias, variant.eps)
        return last.permute(0, 3, 1, 2)
    x = F.layer_norm(x, x.shape[1:], eps=variant.eps)
    if weight is not None:
        x = x * weight[:, None, None]
    return x if bias is None else x + bias[:, None, None]


def _max_pool(x: Tensor, window: int, stride: int, pad_low: int, pad_high: int) -> Tensor:
    if pad_low == pad_high <= window // 2:
        return F.max_pool2d(x, window, stride, pad_low)
    padded = F.pad(x, (pad_low, pad_high, pad_low, pad_high), value=float("-inf"))
    return F.max_pool2d(padded, window, stride)
