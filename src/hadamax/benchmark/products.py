"""Roofline: only an encoder's convolutions and matrix multiplications, each in the fastest form found.

For every layer, both memory formats, merged and separate branches, and our FFT convolutions, if supported, are tried.
Inputs have the right dtype and, except for FFT convolutions of maps, are padded beforehand. There are no biases, and
layers do not wait for each other. The first layer computes no gradient of its input, since none is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hadamax.kernels import (
    ByteConvConfig,
    ConvGeometry,
    byte_convolution,
    byte_convolution_obstacle,
    map_convolution,
    map_convolution_obstacle,
)
from hadamax.kernels.observations import Margins
from hadamax.networks import build_encoder
from hadamax.networks.blocks import ConvBlock

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
TRIES = 3


class Layer(NamedTuple):
    """A convolution over a padded map, or a matrix multiplication if `size` is empty."""

    inputs: int
    outputs: int  # of all branches
    branches: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    size: tuple[int, ...]  # of the padded input
    first: bool
    margins: Margins = ((0, 0), (0, 0))  # of the padding

    @property
    def multiply_accumulates(self) -> int:
        """Multiply-accumulates per sample."""
        each = self.inputs * self.outputs
        for size, kernel, stride in zip(self.size, self.kernel, self.stride, strict=True):
            each *= kernel * ((size - kernel) // stride + 1)
        return each


def layers_of(name: str) -> list[Layer]:
    """List the convolutions and matrix multiplications of an encoder on 4 x 84 x 84.

    Raises:
        ValueError: the encoder has other blocks than convolutions.
    """
    encoder: Any = build_encoder(name)
    layers: list[Layer] = []
    size = (84, 84)
    for block in encoder.blocks:
        if not isinstance(block, ConvBlock):
            raise ValueError(f"{name}: only encoders of plain convolution blocks can be measured")
        layer = block.layer
        margins = layer.window.margins(*size)
        padded = tuple(s + sum(m) for s, m in zip(size, margins, strict=True))
        outputs, inputs = layer.weight.shape[:2]
        sizes = layer.kernel_size, layer.stride, padded
        layers.append(Layer(inputs, outputs, layer.branches, *sizes, first=not layers, margins=margins))
        size = block.output_size(*size)
    for dense in encoder.dense:
        outputs, inputs = dense.weight.shape
        layers.append(Layer(inputs, outputs, dense.branches, (), (), (), first=False))
    return layers


class Products:
    """Jobs `forward` and `both` with rows["batch"] rows, and `acting` (forward) with rows["acting"] rows."""

    def __init__(self, name: str, dtype: torch.dtype, rows: dict[str, int]) -> None:
        self.layers = layers_of(name)
        self.chosen: dict[str, list[str]] = {}
        self._jobs: dict[str, list[Callable[[], object]]] = {}
        for job, backward in (("forward", False), ("both", True), ("acting", False)):
            number = rows["acting" if job == "acting" else "batch"]
            found = [fastest(layer, number, dtype, backward) for layer in self.layers]
            self.chosen[job] = [form for form, _ in found]
            self._jobs[job] = [run for _, run in found]

    def jobs(self) -> dict[str, Callable[[], object]]:
        return {name: lambda parts=parts: [part() for part in parts] for name, parts in self._jobs.items()}  # type: ignore[misc]


def fastest(layer: Layer, rows: int, dtype: torch.dtype, backward: bool) -> tuple[str, Callable[[], object]]:
    """Return the fastest form of a layer: its name and the function that runs it."""
    forms = {
        f"{layout}, {'merged' if parts == 1 else 'separate'}": job(layer, rows, dtype, backward, layout, parts)
        for layout in (FORMATS if layer.size else ["contiguous"])
        for parts in {1, layer.branches}
    }
    if layer.first and layer.size:
        geometry = ByteConvConfig(layer.stride, ((0, 0), (0, 0)), 255.0, dtype)  # type: ignore[arg-type]
        weight = torch.randn(layer.outputs, layer.inputs, *layer.kernel)
        if byte_convolution_obstacle(torch.Size(layer.size), weight, geometry) is None:
            forms["FFT of bytes"] = fft_of_bytes(layer, rows, weight, geometry, backward)
    elif layer.size and dtype == torch.float32:
        weight = torch.randn(layer.outputs, layer.inputs, *layer.kernel)
        if map_convolution_obstacle(torch.Size(_unpadded(layer)), weight, _geometry(layer)) is None:
            forms["FFT of maps"] = fft_of_maps(layer, rows, weight, backward)
    best = min(forms, key=lambda name: _least(forms[name]))
    return best, forms[best]


def job(layer: Layer, rows: int, dtype: torch.dtype, backward: bool, layout: str, parts: int) -> Callable[[], object]:
    """Return a function that runs a layer in one of its forms, split into `parts`."""
    shape = (layer.outputs // parts, layer.inputs, *layer.kernel)
    x = _tensor((rows, layer.inputs, *layer.size), dtype, layout).requires_grad_(backward and not layer.first)
    weights = [_tensor(shape, dtype, layout).requires_grad_(backward) for _ in range(parts)]

    def product(weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, layer.stride) if layer.size else F.linear(x, weight)

    if not backward:

        def forward() -> None:
            with torch.no_grad():
                for weight in weights:
                    product(weight)

        return forward
    gradients = [torch.randn_like(product(weight)) for weight in weights]

    def both() -> None:
        for weight, gradient in zip(weights, gradients, strict=True):
            wanted = [weight] if layer.first else [x, weight]
            torch.autograd.grad(product(weight), wanted, gradient)

    return both


def fft_of_bytes(
    layer: Layer, rows: int, weight: Tensor, geometry: ByteConvConfig, backward: bool
) -> Callable[[], object]:
    """Return a function that runs the first layer as `byte_convolution`."""
    x = torch.randint(256, (rows, layer.inputs, *layer.size), dtype=torch.uint8)
    weight.requires_grad_(backward)
    y = byte_convolution(x, weight, None, geometry)
    gradient = torch.randn_like(y)

    def run() -> None:
        y = byte_convolution(x, weight, None, geometry)
        if backward:
            torch.autograd.grad(y, weight, gradient)

    return run


def fft_of_maps(layer: Layer, rows: int, weight: Tensor, backward: bool) -> Callable[[], object]:
    """Return a function that runs a later layer as `map_convolution`, which includes the padding."""
    x = _tensor((rows, layer.inputs, *_unpadded(layer)), torch.float32, "channels_last").requires_grad_(backward)
    weight.requires_grad_(backward)
    geometry = _geometry(layer)
    gradient = torch.randn_like(map_convolution(x, weight, None, geometry))

    def run() -> None:
        y = map_convolution(x, weight, None, geometry)
        if backward:
            torch.autograd.grad(y, (x, weight), gradient)

    return run


def _geometry(layer: Layer) -> ConvGeometry:
    return ConvGeometry(layer.stride, layer.margins)  # type: ignore[arg-type]


def _unpadded(layer: Layer) -> tuple[int, ...]:
    return tuple(s - sum(m) for s, m in zip(layer.size, layer.margins, strict=True))


def _tensor(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> Tensor:
    tensor = torch.randn(shape).to(dtype)
    return tensor.contiguous(memory_format=FORMATS[layout]) if len(shape) == 4 else tensor


def _least(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
