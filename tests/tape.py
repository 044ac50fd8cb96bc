"""A graph capturer for machines without a GPU: it records the operations on memory and replays them.

Like CUDA's graphs a replay reads and writes the very tensors of the recording, runs no Python of the function, and
keeps what the host gave as it was; and a recording ends where the host asks for a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hadamax.kernels.cuda_graphs import CapturedGraph


class _Writing(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host asks for a value")
        result = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, result))
        return result


class Tape:
    def __init__(self) -> None:
        self.replays, self.failed = 0, False

    def run(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return function(*inputs)

    def capture(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> CapturedGraph:
        held = [torch.zeros_like(x) for x in inputs]
        with _Writing() as writing:
            outputs = function(*held)

        @torch.no_grad()
        def replay() -> None:
            self.replays += 1
            for func, args, kwargs, results in writing.done:
                again = func(*args, **kwargs)
                for place, value in zip(tree_leaves(results), tree_leaves(again), strict=True):
                    if isinstance(place, Tensor) and place.data_ptr() != value.data_ptr():
                        place.copy_(value)

        return CapturedGraph(held, outputs, replay)
