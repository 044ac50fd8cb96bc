"""Bytes of an observation into scaled numbers for a convolution, in one pass on the CPU."""

from __future__ import annotations

import ctypes
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.constant import constant
from hadamax.kernels.watchers import is_plain, is_transformed

SOURCE = "observations.cpp"

Margins = tuple[tuple[int, int], tuple[int, int]]


def scaled_observations(
    observations: Tensor, scale: float, dtype: torch.dtype, margins: Margins = ((0, 0), (0, 0))
) -> Tensor:
    """uint8 [N, C, H, W] / scale, as `dtype`, channels-last, within zeros: [N, C, top + H + bottom, left + W + right].

    Args:
        margins: ((top, bottom), (left, right)).

    Raises:
        TypeError: the observations are not of bytes.
    """
    if observations.dtype != torch.uint8:
        raise TypeError(f"scaled_observations takes uint8, not {observations.dtype}")
    (top, bottom), (left, right) = margins
    usable = observations.device.type == "cpu" and dtype in cpu.ELEMENTS and min(map(min, margins)) >= 0
    usable = usable and not is_transformed()
    if usable and observations[:1].is_contiguous() and cpu.wanted() and _can_be_built(dtype):
        margin = [top, bottom, left, right]
        scaled: Tensor = (_scale if is_plain(observations) else _scaled)(observations, scale, dtype, margin)
        return scaled
    if any((top, bottom, left, right)):
        observations = F.pad(observations, (left, right, top, bottom))
    if is_transformed():  # a batch within a batch has no channels-last
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
    apart, table = ctypes.c_int64(observations.stride(0)), _table(scale, dtype)
    places = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (table, observations, out))
    kernel.hadamax_observations(shape, apart, *places)
    return out


def _empty(observations: Tensor, scale: float, dtype: torch.dtype, margins: list[int]) -> Tensor:
    images, channels, rows, columns = observations.shape
    shape = (images, channels, rows + sum(margins[:2]), columns + sum(margins[2:]))
    return torch.empty(shape, dtype=dtype, device=observations.device, memory_format=torch.channels_last)


@torch.library.custom_op("hadamax::scaled_observations", mutates_args=(), device_types="cpu")
def _scaled(observations: Tensor, scale: float, dtype: torch.dtype, margins: list[int]) -> Tensor:
    # Seen when it was traced, an observation's memory may lie otherwise today.
    plain = observations if observations[:1].is_contiguous() else observations.contiguous()
    return _scale(plain, scale, dtype, margins)


_scaled.register_fake(_empty)


@functools.lru_cache(maxsize=16)
def _table(scale: float, dtype: torch.dtype) -> Tensor:
    """What each byte becomes, rounded as PyTorch rounds it."""
    return torch.arange(256, device="cpu").to(dtype).div_(scale)
