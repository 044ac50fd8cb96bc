"""RAdam with gradient clipping, on the CPU in one pass over parameters, gradients and moments.

PyTorch makes one pass per operation of the formula, which costs a fifth of an update for millions of weights and small
batches. On other devices, and without a compiled kernel, the formula is written in PyTorch; its numbers that change
from step to step are a tensor, so that a CUDA graph of it can be replayed.
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
    """The struct `Step` of csrc/radam.cpp."""

    _fields_ = [
        *((name, ctypes.c_float) for name in ("clip", "new1", "new2", "beta2")),
        *((name, ctypes.c_float) for name in ("rate", "root_bias2", "epsilon")),
        *((name, ctypes.c_int32) for name in ("rectified", "threads")),
    ]


class RAdam(torch.optim.RAdam):
    """`torch.optim.RAdam` (Liu et al. 2020, arXiv 1908.03265) without weight decay, with the same state.

    There must be one group of parameters, and each parameter must have a gradient at every step.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr=lr, foreach=True)

    def clip_and_step(self, max_norm: float) -> Tensor:
        """Clip the gradients to the global norm `max_norm` and take a step. Return the norm before clipping, a scalar.

        The values of the gradients are unspecified afterwards.
        """
        return self.apply_step(self.count_step(), max_norm)

    def count_step(self) -> Tensor:
        """Increment the step count and return the numbers of algorithm 2 that depend on it, for `apply_step`.

        Returns:
            [3] float32 on the parameters' device, copied without waiting: the learning rate over the bias of the first
            moment, times the rectification if it applies; the root of the bias of the second moment; 1 if the
            rectification applies, else 0.
        """
        group = self._group()
        for p in group["params"]:
            self._moments(p)["step"] += 1
        first = group["params"][0]
        numbers = torch.tensor(_numbers(int(self.state[first]["step"]), group), dtype=torch.float32)
        return numbers.pin_memory().to(first.device, non_blocking=True) if first.is_cuda else numbers

    @torch.no_grad()
    def apply_step(self, numbers: Tensor, max_norm: float) -> Tensor:
        """Take the step that `count_step` counted; return as `clip_and_step`. Does not synchronise with the GPU."""
        group = self._group()
        parameters = [p for p in group["params"] if p.grad is not None]
        plain = all(_plain(p, self._moments(p)) for p in parameters)
        kernel = _library() if plain else None
        if kernel is not None:
            return self._in_one_pass(kernel, parameters, numbers, max_norm)
        norm = nn.utils.clip_grad_norm_(parameters, max_norm)
        gradients = [p.grad for p in parameters]
        firsts, seconds = ([self._moments(p)[name] for p in parameters] for name in ("exp_avg", "exp_avg_sq"))
        (beta1, beta2), (rate, root_bias2, rectified) = group["betas"], numbers.unbind()
        torch._foreach_lerp_(firsts, gradients, 1 - beta1)
        torch._foreach_mul_(seconds, beta2)
        torch._foreach_addcmul_(seconds, gradients, gradients, 1 - beta2)
        below = torch._foreach_sqrt(seconds)
        torch._foreach_add_(below, group["eps"])
        changes = torch._foreach_div(firsts, below)
        torch._foreach_mul_(changes, rate * root_bias2 * rectified)
        torch._foreach_sub_(parameters, changes)
        torch._foreach_sub_(parameters, torch._foreach_mul(firsts, rate * (1 - rectified)))
        return norm

    def mutated_tensors(self) -> list[list[Tensor]]:
        """Return the tensors that a step changes: the parameters, their first moments, their second moments."""
        group = self._group()
        moments = [self._moments(p) for p in group["params"]]
        return [group["params"], *([of[name] for of in moments] for name in ("exp_avg", "exp_avg_sq"))]

    def _in_one_pass(
        self, kernel: ctypes.CDLL, parameters: list[nn.Parameter], numbers: Tensor, max_norm: float
    ) -> Tensor:
        group = self._group()
        threads = torch.get_num_threads()
        squares = [kernel.hadamax_squares(_pointer(p.grad), p.numel(), threads) for p in parameters]
        norm = math.sqrt(math.fsum(squares))
        clip = min(max_norm / (norm + 1e-6), 1.0) if norm == norm else math.nan
        (beta1, beta2), (rate, root_bias2, rectified) = group["betas"], numbers.tolist()
        step = _Step(clip, 1 - beta1, 1 - beta2, beta2, rate, root_bias2, group["eps"], int(rectified), threads)
        for p in parameters:
            moments = self._moments(p)
            for name in ("exp_avg", "exp_avg_sq"):
                if moments[name].stride() != p.stride():  # a loaded state has no memory format
                    moments[name] = torch.empty_like(p).copy_(moments[name])
            tensors = (p, p.grad, moments["exp_avg"], moments["exp_avg_sq"])
            kernel.hadamax_radam(*map(_pointer, tensors), p.numel(), ctypes.byref(step))
            # As for PyTorch's in-place operations, so that autograd detects a backward pass that needs the old weights.
            torch.autograd.graph.increment_version([p, moments["exp_avg"], moments["exp_avg_sq"]])
        return torch.tensor(norm)

    def _group(self) -> dict[str, Any]:
        """Return the group of parameters.

        Raises:
            ValueError: there are several groups, or a loaded state has an unsupported setting.
        """
        if len(self.param_groups) != 1:
            raise ValueError(f"RAdam with clipping expects one group of parameters, got {len(self.param_groups)}")
        group: dict[str, Any] = self.param_groups[0]
        for name in ("weight_decay", "maximize"):
            if group.get(name):
                raise ValueError(f"{name} {group[name]} is not supported by RAdam with clipping; expected 0")
        return group

    def _moments(self, p: Tensor) -> dict[str, Any]:
        moments: dict[str, Any] = self.state[p]
        if not moments:
            moments["step"] = torch.tensor(0.0)
            moments["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            moments["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return moments


def _numbers(t: int, group: dict[str, Any]) -> tuple[float, float, bool]:
    beta1, beta2 = group["betas"]
    bias1, bias2 = 1 - beta1**t, 1 - beta2**t
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / bias2
    rate, rectified = group["lr"] / bias1, length > 5
    if rectified:
        rate *= math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return rate, math.sqrt(bias2), rectified


def _plain(p: Tensor, moments: dict[str, Any]) -> bool:
    """Return True if p, gradient and moments are float32 on the CPU, and p and gradient dense with the same strides.

    A state of another shape is left to PyTorch, which raises the error.
    """
    gradient = p.grad
    assert gradient is not None
    each = (p, gradient, moments["exp_avg"], moments["exp_avg_sq"])
    if any(t.shape != p.shape or t.dtype != torch.float32 or t.device.type != "cpu" for t in each):
        return False
    dense = p.is_contiguous() or (p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last))
    return dense and gradient.layout == torch.strided and gradient.stride() == p.stride()


def _library() -> ctypes.CDLL | None:
    kernel = cpu.load("radam.cpp", ()) if cpu.wanted() else None
    if kernel is not None:
        kernel.hadamax_squares.restype = ctypes.c_double
        kernel.hadamax_squares.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32]
        kernel.hadamax_radam.argtypes = [*[ctypes.c_void_p] * 4, ctypes.c_int64, ctypes.POINTER(_Step)]
        kernel.hadamax_radam.restype = None
    return kernel


def _pointer(tensor: Tensor | None) -> int:
    assert tensor is not None
    return tensor.data_ptr()
