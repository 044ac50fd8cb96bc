"""FFT convolutions on the CPU: calls of the compiled kernel.

The algorithm is described in csrc/fft_convolution.h; `byte_convolution` and `map_convolution` decide when it is used.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.conv_geometry import ConvGeometry, Sizes
from hadamax.kernels.cpu import check_memory, pointer

SOURCE = "convolution.cpp"
SIDE = 24  # rows and columns of a tile
# Cost in instructions per vector of channels: a transform of 24 numbers; the products of one plane of a tile.
TRANSFORM, PRODUCT = 300, 4 * SIDE * (SIDE // 2 + 1)
GAIN = 3.0  # use the FFT if the direct form needs this many times more instructions: then it is faster both ways


class FollowingBlock(ctypes.Structure):
    """The struct `Block` of csrc/following_block.h: the Hadamax block after the convolution, called image by image."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("forward", "backward", "sizes", "weight", "bias")),
        *((name, ctypes.c_void_p) for name in ("y", "positions", "to_affine")),
        ("outputs", ctypes.c_int64),
    ]


class FftConvolution(NamedTuple):
    """A kernel from uint8 to `dtype` (float32 or bfloat16), or from float32 to float32. Computes in float32."""

    inputs: torch.dtype
    dtype: torch.dtype

    def obstacle(self, size: torch.Size, weight: torch.Size, geometry: ConvGeometry) -> str | None:
        """Return why the kernel does not support maps of `size` with a weight of this size, or None. May compile it.

        Args:
            weight: [out, in, kernel rows, kernel columns].
        """
        (down, across), (outputs, inputs, *kernel) = geometry.stride, weight
        if down != across:
            return f"stride {geometry.stride} is not square"
        if max(kernel) > SIDE * down:
            return f"kernel {tuple(kernel)} is larger than {SIDE} strides"
        gain = self._gain(geometry.output_size(size, weight[2:]), weight, down)
        if gain < GAIN:
            return (
                f"{inputs} channels of {tuple(size)} with kernel {tuple(kernel)} are too small for an FFT to be faster"
            )
        library = self._library()
        if library is None:
            return cpu.failure(SOURCE) or "the kernel is unavailable"
        channels = library.hadamax_convolution_channels()
        if not channels:
            return "the processor has too few vector registers"
        return f"{outputs} output channels are not a multiple of {channels}" if outputs % channels else None

    @staticmethod
    def _gain(output: list[int], weight: torch.Size, stride: int) -> float:
        """Return the instructions of the direct form relative to those of the FFT."""
        _, inputs, *kernel = weight
        tile = [SIDE + 1 - -(-size // stride) for size in kernel]
        tiles = [-(-size // of_tile) for size, of_tile in zip(output, tile, strict=True)]
        of_tile = (SIDE // 2 + 1 + tile[0] / 2) * TRANSFORM + inputs * stride**2 * PRODUCT
        return output[0] * output[1] * weight[1:].numel() / max(tiles[0] * tiles[1] * of_tile, 1)

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry, scale: float = 1.0
    ) -> Tensor:
        """Convolve and multiply by `scale`: -> [N, out, H', W'], channels-last.

        Args:
            x: each image must be contiguous; floats must be channels-last.
        """
        y = self.empty_output(x, weight, geometry)
        self.convolve(x, weight, bias, geometry, scale, y)
        return y

    def empty_output(self, x: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor:
        """Allocate the output."""
        shape = (len(x), len(weight), *geometry.output_size(x.shape[2:], weight.shape[2:]))
        return torch.empty(shape, dtype=self.dtype, device="cpu", memory_format=torch.channels_last)

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        geometry: ConvGeometry,
        scale: float,
        y: Tensor | None,
        block: FollowingBlock | None = None,
    ) -> None:
        """Write the convolution into y, which may be None if a fused `block` consumes it."""
        sizes = Sizes.of(x, weight.shape, geometry, scale)
        wide = weight.float().contiguous(), None if bias is None else bias.float().contiguous()
        following = None if block is None else ctypes.byref(block)
        check_memory(self._loaded().hadamax_convolution(ctypes.byref(sizes), *map(pointer, (x, *wide, y)), following))

    def gradients(
        self,
        gradient: Tensor,
        x: Tensor,
        shape: torch.Size,
        geometry: ConvGeometry,
        scale: float = 1.0,
        block: FollowingBlock | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients of weight (of `shape`) and bias, float32, from that of the output.

        With a fused `block`, `gradient` is the convolution's output instead; the block computes its gradient.
        """
        gradient = gradient.to(self.dtype).contiguous(memory_format=torch.channels_last)
        to_weight = torch.empty(shape, dtype=torch.float32, device="cpu")
        to_bias = torch.empty(shape[0], dtype=torch.float32, device="cpu")
        sizes = Sizes.of(x, shape, geometry, scale)
        tensors = (x, gradient, to_weight, to_bias)
        following = None if block is None else ctypes.byref(block)
        check_memory(
            self._loaded().hadamax_convolution_backward(ctypes.byref(sizes), *map(pointer, tensors), following)
        )
        return to_weight, to_bias

    def _library(self) -> ctypes.CDLL | None:
        of = "uint8_t" if self.inputs == torch.uint8 else cpu.ELEMENTS[self.inputs]
        return cpu.load(SOURCE, (f"HADAMAX_ELEMENT={cpu.ELEMENTS[self.dtype]}", f"HADAMAX_INPUT={of}"))

    def _loaded(self) -> ctypes.CDLL:
        library = self._library()
        if library is None:
            raise RuntimeError(f"the FFT convolution has no kernel: {cpu.failure(SOURCE)}")
        return library
