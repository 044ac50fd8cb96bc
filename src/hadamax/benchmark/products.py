"""An encoder's convolutions and matrix products alone, each in the fastest form that was found: a limit.

Tried for every layer: both memory formats, branches merged into one convolution or apart, and our convolutions where
they serve: by spectra, of bytes for the first, of maps in float32 for others. Inputs are padded already, but for the
latter, and of the right type, weights too, nothing has a bias, and no layer waits for another. The first has no
gradient for its input, since nothing needs one.
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
    """A convolution over a padded map, or a matrix product where `size` is empty."""

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
        """Of one sample."""
        each = self.inputs * self.outputs
        for size, kernel, stride in zip(self.size, self.kernel, self.stride, strict=True):
            each *= kernel * ((size - kernel) // stride + 1)
        return each


def layers_of(name: str) -> list[Layer]:
    """The convolutions and matrix products of an encoder on 4 x 84 x 84.

    Raises:
        ValueError: an encoder with other blocks than convolutions.
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
    """Jobs `forward`, `both` (of the rows called batch) and `acting` (forward, of the rows called acting)."""

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
    """The form of a layer that took least, by name, and what runs it."""
    forms = {
        f"{layout}, {'merged' if parts == 1 else 'apart'}": job(layer, rows, dtype, backward, layout, parts)
        for layout in (FORMATS if layer.size else ["contiguous"])
        for parts in {1, layer.branches}
    }
    if layer.first and layer.size:
        geometry = ByteConvConfig(layer.stride, ((0, 0), (0, 0)), 255.0, dtype)  # type: ignore[arg-type]
        weight = torch.randn(layer.outputs, layer.inputs, *layer.kernel)
        if byte_convolution_obstacle(torch.Size(layer.size), weight, geometry) is None:
            forms["bytes by spectra"] = bytes_by_spectra(layer, rows, weight, geometry, backward)
    elif layer.size and dtype == torch.float32:
        weight = torch.randn(layer.outputs, layer.inputs, *layer.kernel)
        if map_convolution_obstacle(torch.Size(_unpadded(layer)), weight, _place(layer)) is None:
            forms["maps by spectra"] = maps_by_spectra(layer, rows, weight, backward)
    best = min(forms, key=lambda name: _least(forms[name]))
    return best, forms[best]


def job(layer: Layer, rows: int, dtype: torch.dtype, backward: bool, layout: str, parts: int) -> Callable[[], object]:
    """Runs a layer in one of its forms, in as many parts."""
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


def bytes_by_spectra(
    layer: Layer, rows: int, weight: Tensor, geometry: ByteConvConfig, backward: bool
) -> Callable[[], object]:
    """Runs the first layer as `byte_convolution`."""
    x = torch.randint(256, (rows, layer.inputs, *layer.size), dtype=torch.uint8)
    weight.requires_grad_(backward)
    y = byte_convolution(x, weight, None, geometry)
    gradient = torch.randn_like(y)

    def run() -> None:
        y = byte_convolution(x, weight, None, geometry)
        if backward:
            torch.autograd.grad(y, weight, gradient)

    return run


def maps_by_spectra(layer: Layer, rows: int, weight: Tensor, backward: bool) -> Callable[[], object]:
    """Runs a later layer as `map_convolution`, which pads by itself: fewer inputs have a gradient."""
    x = _tensor((rows, layer.inputs, *_unpadded(layer)), torch.float32, "channels_last").requires_grad_(backward)
    weight.requires_grad_(backward)
    place = _place(layer)
    gradient = torch.randn_like(map_convolution(x, weight, None, place))

    def run() -> None:
        y = map_convolution(x, weight, None, place)
        if backward:
            torch.autograd.grad(y, (x, weight), gradient)

    return run


def _place(layer: Layer) -> ConvGeometry:
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
