"""Compile the Triton kernels to PTX for GPUs that need not be present, and print their names."""

from __future__ import annotations

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hadamax.kernels import cuda, triton_block
from hadamax.kernels.block_config import BlockConfig

CARD = GPUTarget("cuda", 80, 32)  # A100; later GPUs accept the same
GELU = ("gelu_tanh", "gelu_tanh")
# The blocks of `hadamax`, all other activations, a sum, one and three branches, no norm.
BLOCKS = (
    (BlockConfig(2, GELU, "product", "channels", 1e-6, (4, 4, 0, 0)), 32, torch.bfloat16),
    (BlockConfig(2, GELU, "product", "channels", 1e-6, (3, 1, 1, 1)), 64, torch.bfloat16),
    (BlockConfig(3, ("tanh", "sigmoid", "gelu"), "product", "channels", 1e-6, (2, 2, 0, 1)), 48, torch.float32),
    (BlockConfig(2, ("silu", "identity"), "sum", None, 0.0, None), 5, torch.float32),
    (BlockConfig(1, ("relu",), "product", "channels", 1e-6, (2, 3, 0, 0)), 33, torch.float32),
)
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}


def compiled(name: str, variant: BlockConfig, channels: int, dtype: torch.dtype) -> str:
    """The PTX of a kernel."""
    kernel = getattr(triton_block, name)
    constants = cuda.kernel_constants(variant, channels, affine=variant.norm is not None)
    types = {"weight": "*fp32", "bias": "*fp32", "sums": "*fp32", "positions": "*u8", "eps": "fp32"}
    types |= {pointer: POINTERS[dtype] for pointer in ("x", "y", "dy", "dx")}
    signature = {
        argument: "constexpr" if argument in constants else types.get(argument, "i32") for argument in kernel.arg_names
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return str(triton.compile(source, target=CARD).asm["ptx"])


def main() -> None:
    for variant, channels, dtype in BLOCKS:
        backward = "backward_windows" if cuda.windows_are_disjoint(variant) else "backward_pixels"
        for name in ("forward", backward):
            ptx = compiled(name, variant, channels, dtype)
            assert ".entry" in ptx, name
            print(f"{name}:{channels}")


if __name__ == "__main__":
    main()
