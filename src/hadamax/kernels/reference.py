"""The Hadamax block in plain PyTorch: its definition, and the implementation where there is no fused kernel.

For each branch: normalise, activate; then multiply (or add) the branches and take the maximum of each window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.dispatch import is_transformed

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


def reference_block(x: Tensor, weight: Tensor | None, bias: Tensor | None, config: BlockConfig) -> Tensor:
    """Compute the block: [N, branches * C, H, W] -> [N, C, H', W'] in x's dtype, channels-last.

    Computed in x's precision or float32, whichever is wider; bfloat16 is rounded once, at the end, so the maximum is
    taken of unrounded values. The first maximum of a window gets the gradient; NaN counts as the largest value.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    weights = _split(weight, config.branches, wide.dtype)
    biases = _split(bias, config.branches, wide.dtype)
    branches = [
        ACTIVATIONS[activation](_normalise(branch, weights[i], biases[i], config))
        for i, (branch, activation) in enumerate(
            zip(wide.chunk(config.branches, dim=1), config.activations, strict=True)
        )
    ]
    combined = reduce(torch.mul if config.combine == "product" else torch.add, branches)
    pooled = combined if config.pool is None else _max_pool(combined, *config.pool)
    y = pooled.to(x.dtype)
    return y if is_transformed() else y.contiguous(memory_format=torch.channels_last)  # undefined under vmap


def gradients_of(form: Callable[..., Tensor], inputs: Sequence[Tensor | None], gradient: Tensor) -> list[Tensor | None]:
    """Return the gradients of `form`'s inputs, differentiable if gradients are enabled."""
    differentiable = torch.is_grad_enabled()

    def cut(tensor: Tensor) -> Tensor:
        """Separate the tensor from its history, so that earlier uses of the weight are not differentiated here."""
        return tensor.view_as(tensor) if differentiable and tensor.requires_grad else tensor.detach().requires_grad_()

    with torch.enable_grad():
        own = [None if tensor is None else cut(tensor) for tensor in inputs]
        wanted = [tensor for tensor in own if tensor is not None]
        found = iter(torch.autograd.grad(form(*own), wanted, gradient, create_graph=differentiable))
    return [None if tensor is None else next(found) for tensor in own]


def _split(affine: Tensor | None, branches: int, dtype: torch.dtype) -> list[Tensor | None]:
    return [None] * branches if affine is None else list(affine.to(dtype).chunk(branches))


def _normalise(x: Tensor, weight: Tensor | None, bias: Tensor | None, config: BlockConfig) -> Tensor:
    """Normalise one branch [N, C, H, W] over channels at each pixel, or over the map; scale and bias per channel."""
    if config.norm is None:
        return x
    if config.norm == "channels":
        last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), weight, bias, config.eps)
        return last.permute(0, 3, 1, 2)
    x = F.layer_norm(x, x.shape[1:], eps=config.eps)
    if weight is not None:
        x = x * weight[:, None, None]
    return x if bias is None else x + bias[:, None, None]


def _max_pool(x: Tensor, window: int, stride: int, pad_low: int, pad_high: int) -> Tensor:
    if pad_low == pad_high <= window // 2:
        return F.max_pool2d(x, window, stride, pad_low)
    padded = F.pad(x, (pad_low, pad_high, pad_low, pad_high), value=float("-inf"))
    return F.max_pool2d(padded, window, stride)
