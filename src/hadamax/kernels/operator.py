"""The fused block as a PyTorch operator, with shapes for torch.compile and a gradient for autograd.

Saved for the backward pass are the convolution's output and one byte per pooled output; everything else is recomputed.
Double backward uses the gradients of the reference.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hadamax.kernels import cpu, cuda
from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.dispatch import can_call_directly, needs_differentiable_backward, tensor_signatures
from hadamax.kernels.reference import gradients_of, reference_block


def fused_block(x: Tensor, weight: Tensor | None, bias: Tensor | None, config: BlockConfig) -> Tensor:
    """Compute a block that has a kernel on x's device."""
    y: Tensor
    if x.device.type == "cpu" and all(tensor is None or can_call_directly(tensor) for tensor in (x, weight, bias)):
        y = _Direct.apply(x, weight, bias, config)  # type: ignore[no-untyped-call]
    else:
        y = _forward(x, weight, bias, *_encode(config))[0]
    return y


class _Direct(torch.autograd.Function):
    """The operator below, on the CPU, without the overhead of the dispatcher."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, config: BlockConfig) -> Tensor:
        y, positions = cpu.forward(_library(x, config), x, weight, bias, config)
        ctx.save_for_backward(x, weight, bias, positions)
        ctx.config, ctx.signatures = config, tensor_signatures(x, weight, bias, positions)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, positions = ctx.saved_tensors
        if needs_differentiable_backward(gradient) or tensor_signatures(x, weight, bias, positions) != ctx.signatures:
            return (*_reference_gradients(gradient, x, weight, bias, ctx.config), None)
        found = cpu.backward(_library(x, ctx.config), gradient, x, weight, bias, positions, ctx.config)
        return (*_affine_gradients(found, weight, bias), None)


def _reference_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, config: BlockConfig
) -> list[Tensor | None]:
    """Return the gradients of x, weight and bias of the reference."""
    return gradients_of(partial(reference_block, config=config), (x, weight, bias), gradient)


def _encode(config: BlockConfig) -> tuple[str, str, str, float, list[int]]:
    """Convert the settings to types that an operator's schema supports."""
    pool = [int(size) if isinstance(size, Tensor) else size for size in config.pool or ()]  # tensors when traced
    return ",".join(config.activations), config.combine, config.norm or "", config.eps, pool


def _decode(activations: str, combine: str, norm: str, eps: float, pool: list[int]) -> BlockConfig:
    names = tuple(activations.split(","))
    window = (pool[0], pool[1], pool[2], pool[3]) if pool else None
    return BlockConfig(len(names), names, combine, norm or None, eps, window)


def _library(x: Tensor, config: BlockConfig) -> ctypes.CDLL:
    kernel = cpu.library(x.dtype, config, x.shape[1] // config.branches)
    if kernel is None:
        raise RuntimeError(f"hadamax::block has no kernel: {cpu.failure()}")
    return kernel


@torch.library.custom_op("hadamax::block", mutates_args=(), device_types="cpu")
def _forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    activations: str,
    combine: str,
    norm: str,
    eps: float,
    pool: list[int],
) -> tuple[Tensor, Tensor]:
    config = _decode(activations, combine, norm, eps, pool)
    return cpu.forward(_library(x, config), x, weight, bias, config)


@_forward.register_kernel("cuda")
def _(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    activations: str,
    combine: str,
    norm: str,
    eps: float,
    pool: list[int],
) -> tuple[Tensor, Tensor]:
    return cuda.forward(x, weight, bias, _decode(activations, combine, norm, eps, pool))


@_forward.register_fake
def _(
    x: Tensor, weight: Any, bias: Any, activations: str, combine: str, norm: str, eps: float, pool: list[int]
) -> tuple[Tensor, Tensor]:
    return cpu.empty_outputs(x.shape, x.dtype, x.device, _decode(activations, combine, norm, eps, pool))


@torch.library.custom_op("hadamax::block_backward", mutates_args=(), device_types="cpu")
def _backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    positions: Tensor,
    activations: str,
    combine: str,
    norm: str,
    eps: float,
    pool: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    config = _decode(activations, combine, norm, eps, pool)
    return cpu.backward(_library(x, config), gradient, x, weight, bias, positions, config)


@_backward.register_kernel("cuda")
def _(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    positions: Tensor,
    activations: str,
    combine: str,
    norm: str,
    eps: float,
    pool: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    return cuda.backward(gradient, x, weight, bias, positions, _decode(activations, combine, norm, eps, pool))


@_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    weight: Any,
    bias: Any,
    positions: Tensor,
    activations: str,
    combine: str,
    norm: str,
    eps: float,
    pool: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    to_x = torch.empty_like(x, memory_format=torch.channels_last)
    return to_x, x.new_empty(x.shape[1], dtype=torch.float32), x.new_empty(x.shape[1], dtype=torch.float32)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, *ctx.settings = inputs
    ctx.save_for_backward(x, weight, bias, output[1])
    ctx.signatures = tensor_signatures(x, weight, bias, output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, bias, positions = ctx.saved_tensors
    if torch.is_grad_enabled() or tensor_signatures(x, weight, bias, positions) != ctx.signatures:
        found = _reference_gradients(gradient, x, weight, bias, _decode(*ctx.settings))
        return (*found, *(None,) * len(ctx.settings))
    found = _backward(gradient, x, weight, bias, positions, *ctx.settings)
    return (*_affine_gradients(found, weight, bias), *(None,) * len(ctx.settings))


def _affine_gradients(
    found: tuple[Tensor, Tensor, Tensor], weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, weight and bias, the latter two in their own dtype or None."""
    to_x, to_weight, to_bias = found
    return (
        to_x,
        None if weight is None else to_weight.to(weight.dtype),
        None if bias is None else to_bias.to(bias.dtype),
    )


_forward.register_autograd(_differentiate, setup_context=_save)
