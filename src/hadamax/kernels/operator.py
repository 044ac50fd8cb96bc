"""The fused block as a PyTorch operator: shapes for the compiler, a gradient for autograd.

Saved for the backward pass are the convolution's output and a byte for each pooled output; all else is
computed again. Gradients that will be differentiated themselves are the reference's.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hadamax.kernels import cpu, cuda
from hadamax.kernels.reference import gradients_of, reference_block
from hadamax.kernels.variant import Variant
from hadamax.kernels.watchers import is_plain, is_watched, looks


def fused_block(x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: Variant) -> Tensor:
    """The block of a variant that has a kernel on x's device."""
    y: Tensor
    if x.device.type == "cpu" and all(tensor is None or is_plain(tensor) for tensor in (x, weight, bias)):
        y = _Direct.apply(x, weight, bias, variant)  # type: ignore[no-untyped-call]
    else:
        y = _forward(x, weight, bias, *_encode(variant))[0]
    return y


class _Direct(torch.autograd.Function):
    """The operator below, on the CPU, without the operator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: Variant) -> Tensor:
        y, positions = cpu.forward(_library(x, variant), x, weight, bias, variant)
        ctx.save_for_backward(x, weight, bias, positions)
        ctx.variant, ctx.kept = variant, looks(x, weight, bias, positions)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, positions = ctx.saved_tensors
        if is_watched(gradient) or looks(x, weight, bias, positions) != ctx.kept:
            return (*_reference_gradients(gradient, x, weight, bias, ctx.variant), None)
        found = cpu.backward(_library(x, ctx.variant), gradient, x, weight, bias, positions, ctx.variant)
        return (*_affine_gradients(found, weight, bias), None)


def _reference_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: Variant
) -> list[Tensor | None]:
    """Gradients of x, weight and bias by plain PyTorch."""
    return gradients_of(partial(reference_block, variant=variant), (x, weight, bias), gradient)


def _encode(variant: Variant) -> tuple[str, str, str, float, list[int]]:
    """A variant in the types an operator's schema knows."""
    pool = [int(size) if isinstance(size, Tensor) else size for size in variant.pool or ()]  # tensors when traced
    return ",".join(variant.activations), variant.combine, variant.norm or "", variant.eps, pool


def _decode(activations: str, combine: str, norm: str, eps: float, pool: list[int]) -> Variant:
    names = tuple(activations.split(","))
    window = (pool[0], pool[1], pool[2], pool[3]) if pool else None
    return Variant(len(names), names, combine, norm or None, eps, window)


def _library(x: Tensor, variant: Variant) -> ctypes.CDLL:
    kernel = cpu.library(x.dtype, variant, x.shape[1] // variant.branches)
    if kernel is None:
        raise RuntimeError(f"hadamax::block was called without a kernel: {cpu.failure()}")
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
    variant = _decode(activations, combine, norm, eps, pool)
    return cpu.forward(_library(x, variant), x, weight, bias, variant)


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
    variant = _decode(activations, combine, norm, eps, pool)
    return cpu.backward(_library(x, variant), gradient, x, weight, bias, positions, variant)


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
    ctx.kept = looks(x, weight, bias, output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, bias, positions = ctx.saved_tensors
    if torch.is_grad_enabled() or looks(x, weight, bias, positions) != ctx.kept:
        found = _reference_gradients(gradient, x, weight, bias, _decode(*ctx.settings))
        return (*found, *(None,) * len(ctx.settings))
    found = _backward(gradient, x, weight, bias, positions, *ctx.settings)
    return (*_affine_gradients(found, weight, bias), *(None,) * len(ctx.settings))


def _affine_gradients(
    found: tuple[Tensor, Tensor, Tensor], weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight and bias, the latter in the dtype of theirs where there are such."""
    to_x, to_weight, to_bias = found
    return (
        to_x,
        None if weight is None else to_weight.to(weight.dtype),
        None if bias is None else to_bias.to(bias.dtype),
    )


_forward.register_autograd(_differentiate, setup_context=_save)
