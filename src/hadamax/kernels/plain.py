"""PyTorch's convolution, with the gradient of its bias summed apart on the CPU.

oneDNN makes that along with the weights' gradient, and takes three to ten times as long for it as a sum does.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.watchers import is_plain


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """As `torch.nn.functional.conv2d`: float [N, C, H, W] -> [N, out, H', W']."""
    if bias is None or not _sums_apart(x, weight, bias):
        return F.conv2d(x, weight, bias, stride, padding)
    y: Tensor = _SummedApart.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call]
    return y


def _sums_apart(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and bias.requires_grad
        and x.ndim == 4
        and cpu.wanted()
        and all(is_plain(t) and t.dtype == torch.float32 and t.device.type == "cpu" for t in (x, weight, bias))
        and not torch.is_autocast_enabled("cpu")
    )


class _SummedApart(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.place = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (stride, padding) = ctx.saved_tensors, ctx.place
        to_x, to_weight, to_bias = ctx.needs_input_grad[:3]
        found = torch.ops.aten.convolution_backward(
            gradient, x, weight, [len(weight)], stride, padding, [1, 1], False, [0, 0], 1, [to_x, to_weight, False]
        )
        return *found[:2], gradient.sum((0, 2, 3)) if to_bias else None, None, None
