"""What others do to a layer from outside, by PyTorch's means: hooks on it, and weights computed from others.

A fused pass calls no module and reads weights where it likes, so it has to ask.
"""

import contextlib
import threading

import torch
from torch import nn
from torch.nn.utils import parametrize


def is_hooked(module: nn.Module | None) -> bool:
    """Whether somebody asks to be called where the module is, forward or backward."""
    return module is not None and bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def drawn_once(layer: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Within it a parametrised weight (spectral norm, dropped weights) is computed once, however often it is read.

    In the main thread alone: the cache is the process's, and two threads would keep each other's weights in it.
    """
    usual = torch.compiler.is_compiling() or not parametrize.is_parametrized(layer)
    if usual or threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    return parametrize.cached()
