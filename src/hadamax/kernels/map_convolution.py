"""The convolutions after an encoder's first, of maps in float32, by way of Fourier transforms where that serves.

csrc/spectra.h says how. What the kernel does not serve goes PyTorch's way, and so does all in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.place import Place
from hadamax.kernels.plain import conv2d
from hadamax.kernels.spectra import Spectra
from hadamax.kernels.watchers import is_plain, is_watched, looks

FEWEST_IMAGES = 8  # for fewer the transform of the kernel costs more than it saves
SERVED = Spectra(torch.float32, torch.float32)


def map_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, place: Place) -> Tensor:
    """Float [N, C, H, W], within margins of zeros, convolved: [N, out, H', W'].

    Args:
        x: by spectra where it is channels-last, as what comes out then is.
        weight: [out, C, kernel rows, kernel columns]; bias: [out] or None.
    """
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if (
        len(x) < FEWEST_IMAGES
        or not all(is_plain(tensor) and tensor.dtype == torch.float32 for tensor in tensors)
        or torch.is_autocast_enabled("cpu")
        or not place.fits(x, weight, bias)
        or not x.is_contiguous(memory_format=torch.channels_last)
        or map_convolution_obstacle(x.shape[2:], weight, place) is not None
    ):
        return _plain(x, weight, bias, place)
    y: Tensor = _Convolution.apply(x, weight, bias, place)  # type: ignore[no-untyped-call]
    return y


def map_convolution_obstacle(size: torch.Size, weight: Tensor, place: Place) -> str | None:
    """Why the kernel does not serve plain maps of a height and a width; None where it does. Compiles it to find out."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not cpu.wanted():
        return "not in float32 on the CPU"
    return "a stride" if place.stride != (1, 1) else SERVED.obstacle(size, weight.shape, place)


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, place: Place) -> Tensor:
    padded, padding = _plain_input(x, place)
    return conv2d(padded, weight, bias, place.stride, padding)


def _plain_input(x: Tensor, place: Place) -> tuple[Tensor, tuple[int, int]]:
    """The plain form's input, and what is left for its convolution to pad."""
    padding = place.padding()
    if padding is not None:
        return x, padding
    (top, bottom), (left, right) = place.margins
    return F.pad(x, (left, right, top, bottom)), (0, 0)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, place: Place) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.place, ctx.kept = place, looks(x, weight)
        return SERVED.forward(x, weight, bias, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), place = ctx.saved_tensors, ctx.place
        to_x, to_weight, to_bias = wanted = ctx.needs_input_grad[:3]
        if is_watched(gradient) or looks(x, weight) != ctx.kept:  # who kept them may have changed them
            return *_plain_gradients(gradient, x, weight, place, wanted), None
        found: list[Tensor | None] = [_input_gradient(gradient, x, weight, place) if to_x else None, None, None]
        if to_weight or to_bias:
            x = x.contiguous(memory_format=torch.channels_last)
            found[1:] = SERVED.gradients(gradient, x, weight.shape, place)
        return *(tensor if wants else None for tensor, wants in zip(found, wanted, strict=True)), None


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, place: Place) -> Tensor | None:
    """The same kind of convolution, of the kernel turned around, where the inputs are enough for its outputs."""
    turned = weight.transpose(0, 1).flip(2, 3)
    (top, bottom), (left, right) = place.margins
    down, across = (size - 1 for size in weight.shape[2:])
    around = Place(place.stride, ((down - top, down - bottom), (across - left, across - right)))  # cuts, where negative
    if map_convolution_obstacle(gradient.shape[2:], turned, around) is not None:
        return _plain_gradients(gradient, x, weight, place, (True, False, False))[0]
    return SERVED.forward(gradient.contiguous(memory_format=torch.channels_last), turned, None, around)


def _plain_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, place: Place, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, ...]:
    padded, padding = _plain_input(x, place)
    to_padded, *rest = torch.ops.aten.convolution_backward(
        gradient, padded, weight, [len(weight)], place.stride, padding, [1, 1], False, [0, 0], 1, wanted
    )
    if to_padded is not None and padded is not x:
        (top, bottom), (left, right) = place.margins
        to_padded = F.pad(to_padded, (-left, -right, -top, -bottom))
    return to_padded, *rest
