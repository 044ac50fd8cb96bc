"""Convolutions by way of Fourier transforms, on the CPU: calls into the compiled kernel.

csrc/spectra.h says how, `byte_convolution` and `map_convolution` which convolutions come here.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu
from hadamax.kernels.cpu import enough, pointer
from hadamax.kernels.place import Place, Sizes

SOURCE = "convolution.cpp"
SIDE = 24  # of a tile
# Instructions for a vector of channels: a transform of 24 numbers; in a tile, the products of a plane's transform.
TRANSFORM, PRODUCT = 300, 4 * SIDE * (SIDE // 2 + 1)
GAIN = 3.0  # how many times the plain form's multiplications must be these, to take less time forward and backward


class Following(ctypes.Structure):
    """`Block` in csrc/following.h: the block that follows, which is called for one image and one thread at a time."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("forward", "backward", "sizes", "weight", "bias")),
        *((name, ctypes.c_void_p) for name in ("y", "positions", "to_affine")),
        ("outputs", ctypes.c_int64),
    ]


class Spectra(NamedTuple):
    """A kernel: of bytes into `dtype`, float32 or bfloat16, or of float32 into float32, in which it computes all."""

    inputs: torch.dtype
    dtype: torch.dtype

    def obstacle(self, size: torch.Size, weight: torch.Size, place: Place) -> str | None:
        """Why it does not serve maps of a size and a weight [out, in, kernel rows, kernel columns]; None where it does.

        Compiles it to find out.
        """
        (down, across), (outputs, inputs, *kernel) = place.stride, weight
        if down != across:
            return f"strides of {place.stride}"
        if max(kernel) > SIDE * down:
            return f"a kernel of {tuple(kernel)} is over {SIDE} strides"
        gain = self._gain(place.output_size(size, weight[2:]), weight, down)
        if gain < GAIN:
            return f"{inputs} channels of {tuple(size)} and a kernel of {tuple(kernel)}: too few products"
        library = self._library()
        if library is None:
            return cpu.failure(SOURCE) or "there is no kernel"
        channels = library.hadamax_convolution_channels()
        if not channels:
            return "the processor's registers are too few"
        return f"{outputs} channels, not a multiple of {channels}" if outputs % channels else None

    @staticmethod
    def _gain(output: list[int], weight: torch.Size, stride: int) -> float:
        """How many times the plain form's instructions are those of this one."""
        _, inputs, *kernel = weight
        tile = [SIDE + 1 - -(-size // stride) for size in kernel]
        tiles = [-(-size // of_tile) for size, of_tile in zip(output, tile, strict=True)]
        of_tile = (SIDE // 2 + 1 + tile[0] / 2) * TRANSFORM + inputs * stride**2 * PRODUCT
        return output[0] * output[1] * weight[1:].numel() / max(tiles[0] * tiles[1] * of_tile, 1)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, place: Place, scale: float = 1.0) -> Tensor:
        """[N, out, H', W'], channels-last, the products multiplied by `scale`.

        Args:
            x: each image of it contiguous, channels-last where it is no bytes.
        """
        y = self.room(x, weight, place)
        self.convolve(x, weight, bias, place, scale, y)
        return y

    def room(self, x: Tensor, weight: Tensor, place: Place) -> Tensor:
        """An empty output."""
        shape = (len(x), len(weight), *place.output_size(x.shape[2:], weight.shape[2:]))
        return torch.empty(shape, dtype=self.dtype, device="cpu", memory_format=torch.channels_last)

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        place: Place,
        scale: float,
        y: Tensor | None,
        then: Following | None = None,
    ) -> None:
        """Into y, which may be None where something follows that takes it in."""
        sizes = Sizes.of(x, weight.shape, place, scale)
        wide = weight.float().contiguous(), None if bias is None else bias.float().contiguous()
        following = None if then is None else ctypes.byref(then)
        enough(self._found().hadamax_convolution(ctypes.byref(sizes), *map(pointer, (x, *wide, y)), following))

    def gradients(
        self,
        gradient: Tensor,
        x: Tensor,
        shape: torch.Size,
        place: Place,
        scale: float = 1.0,
        then: Following | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Of a weight of `shape` and of the bias, float32, from that of the output.

        Where something follows, which has the gradient of its own, from the output itself.
        """
        gradient = gradient.to(self.dtype).contiguous(memory_format=torch.channels_last)
        to_weight = torch.empty(shape, dtype=torch.float32, device="cpu")
        to_bias = torch.empty(shape[0], dtype=torch.float32, device="cpu")
        sizes = Sizes.of(x, shape, place, scale)
        tensors = (x, gradient, to_weight, to_bias)
        following = None if then is None else ctypes.byref(then)
        enough(self._found().hadamax_convolution_backward(ctypes.byref(sizes), *map(pointer, tensors), following))
        return to_weight, to_bias

    def _library(self) -> ctypes.CDLL | None:
        of = "uint8_t" if self.inputs == torch.uint8 else cpu.ELEMENTS[self.inputs]
        return cpu.load(SOURCE, (f"HADAMAX_ELEMENT={cpu.ELEMENTS[self.dtype]}", f"HADAMAX_INPUT={of}"))

    def _found(self) -> ctypes.CDLL:
        library = self._library()
        if library is None:
            raise RuntimeError(f"the convolution by spectra lost its kernel: {cpu.failure(SOURCE)}")
        return library
