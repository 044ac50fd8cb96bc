"""Hooks on a layer and parametrised weights, which the fast path must respect.

A fused kernel does not call the modules of a block, and may read a weight several times.
"""

import contextlib
import threading

import torch
from torch import nn
from torch.nn.utils import parametrize


def is_hooked(module: nn.Module | None) -> bool:
    """Return True if a module has forward or backward hooks."""
    return module is not None and bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def cached_parametrization(layer: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Context in which a parametrised weight (for example with spectral norm) is computed once per forward pass.

    Only in the main thread: the cache is shared by the process, and threads would read each other's weights.
    """
    plain = torch.compiler.is_compiling() or not parametrize.is_parametrized(layer)
    if plain or threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    return parametrize.cached()
