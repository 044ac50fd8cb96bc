"""What has to be set before anything imports Triton, as PyTorch's compiler does."""

from __future__ import annotations

import os

import torch

# Without a card, Triton's kernels are tested in its interpreter.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
