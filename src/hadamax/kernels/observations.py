"""Conversion of uint8 observations to scaled, padded, channels-last floats in one pass on the CPU."""

from __future__ import annotations

import ctypes
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.dispatch import can_call_directly, constant, is_transformed

SOURCE = "observations.cpp"

Margins = tuple[tuple[int, int], tuple[int, int]]


def scaled_observations(
    observations: Tensor, scale: float, dtype: torch.dtype, margins: Margins = ((0, 0), (0, 0))
) -> Tensor:
    """Convert uint8 [N, C, H, W] / scale to `dtype`, channels-last, padded with zeros.

    Args:
        margins: ((top, bottom), (left, right)).

    Returns:
        [N, C, top + H + bottom, left + W + right].

    Raises:
        TypeError: the observations are not uint8.
    """
    if observations.dtype != torch.uint8:
        raise TypeError(f"scaled_observations expects uint8, got {observations.dtype}")
    (top, bottom), (left, right) = margins
    usable = observations.device.type == "cpu" and dtype in cpu.ELEMENTS and min(map(min, margins)) >= 0
    usable = usable and not is_transformed()
    if usable and observations[:1].is_contiguous() and cpu.wanted() and _can_be_built(dtype):
        margin = [top, bottom, left, right]
        scaled: Tensor = (_scale if can_call_directly(observations) else _scaled)(observations, scale, dtype, margin)
        return scaled
    if any((top, bottom, left, right)):
        observations = F.pad(observations, (left, right, top, bottom))
    if is_transformed():  # channels-last is undefined under vmap
        return observations.to(dtype) / scale
    return observations.to(dtype=dtype, memory_format=torch.channels_last).div_(scale)


@constant
def _can_be_built(dtype: torch.dtype) -> bool:
    return _library(dtype) is not None


def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    return cpu.load(SOURCE, (f"HADAMAX_ELEMENT={cpu.ELEMENTS[dtype]}",))


def _scale(observations: Tensor, scale: float, dtype: torch.dtype, margins: list[int]) -> Tensor:
    kernel = _library(dtype)
    if kernel is None:
        raise RuntimeError(f"hadamax::scaled_observations was called without a kernel: {cpu.failure(SOURCE)}")
    out = _empty(observations, scale, dtype, margins)
    shape = (ctypes.c_int32 * 9)(*observations.shape, *margins, torch.get_num_threads())
    image_stride, table = ctypes.c_int64(observations.stride(0)), _table(scale, dtype)
    addresses = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (table, observations, out))
    kernel.hadamax_observations(shape, image_stride, *addresses)
    return out


def _empty(observations: Tensor, scale: float, dtype: torch.dtype, margins: list[int]) -> Tensor:
    images, channels, rows, columns = observations.shape
    shape = (images, channels, rows + sum(margins[:2]), columns + sum(margins[2:]))
    return torch.empty(shape, dtype=dtype, device=observations.device, memory_format=torch.channels_last)


@torch.library.custom_op("hadamax::scaled_observations", mutates_args=(), device_types="cpu")
def _scaled(observations: Tensor, scale: float, dtype: torch.dtype, margins: list[int]) -> Tensor:
    # The strides may differ from those at trace time.
    plain = observations if observations[:1].is_contiguous() else observations.contiguous()
    return _scale(plain, scale, dtype, margins)


_scaled.register_fake(_empty)


@functools.lru_cache(maxsize=16)
def _table(scale: float, dtype: torch.dtype) -> Tensor:
    """Return the scaled value of each byte, rounded as PyTorch rounds it."""
    return torch.arange(256, device="cpu").to(dtype).div_(scale)
