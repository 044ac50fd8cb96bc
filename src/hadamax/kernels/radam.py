"""RAdam with gradient clipping: on the CPU in one pass over parameters, gradients and moments.

PyTorch takes a pass for each operation of the formula, which for millions of weights and small batches costs a fifth
of an update. Elsewhere, and where nothing can be compiled, this is PyTorch's own.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hadamax.kernels import cpu


class _Step(ctypes.Structure):
    """`Step` in csrc/radam.cpp."""

    _fields_ = [
        *((name, ctypes.c_float) for name in ("clip", "new1", "new2", "beta2")),
        *((name, ctypes.c_float) for name in ("rate", "root_bias2", "epsilon")),
        *((name, ctypes.c_int32) for name in ("rectified", "threads")),
    ]


class RAdam(torch.optim.RAdam):
    """`torch.optim.RAdam` (Liu et al. 2020, arXiv 1908.03265) without weight decay; its state is the same."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr=lr, foreach=True)

    @torch.no_grad()
    def clip_and_step(self, max_norm: float) -> Tensor:
        """Scale the gradients down to the global norm `max_norm`, and take a step: the norm before, a scalar.

        The gradients themselves are not for reading afterwards: they may come out scaled or not.
        """
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        kernel = _library() if all(map(_plain, parameters)) else None
        if kernel is None:
            norm = nn.utils.clip_grad_norm_(parameters, max_norm)
            self.step()
            return norm
        threads = torch.get_num_threads()
        squares = [kernel.hadamax_squares(_pointer(p.grad), p.numel(), threads) for p in parameters]
        norm_ = math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else math.nan
        clip = min(max_norm / (norm_ + 1e-6), 1.0) if norm_ == norm_ else math.nan
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(kernel, p, group, clip, threads)
        return torch.tensor(norm_)

    def _update(self, kernel: ctypes.CDLL, p: Tensor, group: dict[str, Any], clip: float, threads: int) -> None:
        state = self.state[p]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        for name in ("exp_avg", "exp_avg_sq"):
            if state[name].stride() != p.stride():  # loaded: a file knows no memory format
                state[name] = torch.empty_like(p).copy_(state[name])
        state["step"] += 1
        step = _numbers(int(state["step"]), group)
        step.clip, step.threads = clip, threads
        tensors = (p, p.grad, state["exp_avg"], state["exp_avg_sq"])
        kernel.hadamax_radam(*map(_pointer, tensors), p.numel(), ctypes.byref(step))


def _numbers(t: int, group: dict[str, Any]) -> _Step:
    """What step t does with the moments (Liu et al. 2020, algorithm 2)."""
    beta1, beta2 = group["betas"]
    bias1, bias2 = 1 - beta1**t, 1 - beta2**t
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / bias2
    rate, rectified = group["lr"] / bias1, length > 5
    if rectified:
        rate *= math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return _Step(1.0, 1 - beta1, 1 - beta2, beta2, rate, math.sqrt(bias2), group["eps"], rectified, 1)


def _plain(p: Tensor) -> bool:
    """Whether a parameter and its gradient lie in memory alike, without holes, as float32 on the CPU."""
    gradient = p.grad
    assert gradient is not None
    alike = gradient.dtype == p.dtype == torch.float32 and p.device.type == "cpu" and gradient.stride() == p.stride()
    dense = p.is_contiguous() or (p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last))
    return alike and dense and gradient.layout == torch.strided


def _library() -> ctypes.CDLL | None:
    kernel = cpu.load("radam.cpp", ()) if cpu.wanted() else None
    if kernel is not None:
        kernel.hadamax_squares.restype = ctypes.c_double
        kernel.hadamax_squares.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32]
        kernel.hadamax_radam.argtypes = [*[ctypes.c_void_p] * 4, ctypes.c_int64, ctypes.POINTER(_Step)]
        kernel.hadamax_radam.restype = None
    return kernel


def _pointer(tensor: Tensor) -> int:
    return tensor.data_ptr()
