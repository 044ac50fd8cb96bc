"""A kernel without enough working memory raises an exception, and the process continues."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.end_to_end

# A map of one channel, which the kernel holds in whole vectors of channels.
BLOCK = """
    from hadamax.kernels import hadamax_block
    maps = torch.randn(1, 1, 3000, 3000)
    how = dict(activations=("tanh",), branches=1, combine="product", norm="channels", eps=1e-6, pool=(3, 16, 0, 0))
    def work(size):
        hadamax_block(maps[:, :, :size, :size], None, None, **how)
"""
# The kernel's transform: 576 numbers for every input and output.
CONVOLUTION = """
    from hadamax.kernels import ConvGeometry
    from hadamax.kernels.fft_convolution import FftConvolution
    maps, weight = torch.zeros(1, 64, 40, 40, dtype=torch.uint8), torch.randn(2048, 64, 8, 8)
    def work(size):
        geometry = ConvGeometry((1, 1), ((0, 0), (0, 0)))
        FftConvolution(torch.uint8, torch.float32).forward(maps, weight[:size], None, geometry)
"""
# The same, and the block after it.
STAGE = """
    from hadamax.kernels import ByteConvConfig, ConvBlockConfig, BlockConfig, fused_conv_block
    maps, weight = torch.zeros(8, 64, 40, 40, dtype=torch.uint8), torch.randn(2048, 64, 8, 8)
    stage = ConvBlockConfig(ByteConvConfig((1, 1), ((0, 0), (0, 0)), 255.0, torch.float32),
                  BlockConfig(1, ("tanh",), "product", "channels", 1e-6, (4, 4, 0, 0)))
    def work(size):
        fused_conv_block(maps, weight[:size], None, None, None, stage)
"""


@pytest.mark.parametrize("what", [BLOCK, CONVOLUTION, STAGE], ids=["block", "convolution", "stage"])
def test_out_of_memory_is_an_exception(what: str) -> None:
    code = """
        import resource, torch
        torch.set_num_threads(2)
        {what}
        work(64)  # compiled, and its threads begun
        used = 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize")))
        resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20, resource.RLIM_INFINITY))
        try:
            work(3000)
        except MemoryError as error:
            print(error)
        work(64)
    """
    code = textwrap.dedent(code).format(what=textwrap.dedent(what).strip())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "a fused kernel could not allocate its workspace\n"), done.stderr[
        -2000:
    ]
