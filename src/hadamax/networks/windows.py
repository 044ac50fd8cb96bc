"""The geometry of a sliding window, the same for convolutions and pools: margins and output sizes.

"same" is TensorFlow's and Flax's SAME: ceil(size / stride) outputs; the margin is split evenly, the odd pixel
at the end. It depends on the input's size, so it is worked out when the input is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hadamax.networks.names import IntOrPair, lookup, pair, whole

PaddingSetting = str | int
Margins = tuple[tuple[int, int], tuple[int, int]]

# Name -> margin of a kernel, on both sides; None: SAME, worked out from the input.
PADDINGS: dict[str, Callable[[int], int | None]] = {
    "same": lambda kernel: None,
    "valid": lambda kernel: 0,
    "half": lambda kernel: kernel // 2,
}


@dataclass(frozen=True)
class Window:
    """Kernel, stride and fixed margin (None: SAME), each (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    margin: tuple[int | None, int | None]

    def margins(self, height: int, width: int) -> Margins:
        """((top, bottom), (left, right)) for a map of that size."""
        return self._margin(0, height), self._margin(1, width)

    def _margin(self, axis: int, size: int) -> tuple[int, int]:
        fixed = self.margin[axis]
        if fixed is not None:
            return fixed, fixed
        kernel, stride = self.kernel[axis], self.stride[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that comes out; 0 where the kernel does not fit."""
        return self._output(0, height), self._output(1, width)

    def _output(self, axis: int, size: int) -> int:
        if size < 1:
            return 0
        padded = size + sum(self._margin(axis, size))
        return max((padded - self.kernel[axis]) // self.stride[axis] + 1, 0)


def make_window(kernel: IntOrPair, stride: IntOrPair, padding: PaddingSetting) -> Window:
    """A `Window` from settings. Raises TypeError or ValueError, naming the one that is wrong."""
    kernel, stride = pair("kernel", kernel), pair("stride", stride)
    if isinstance(padding, str):
        margin = lookup("padding", padding, PADDINGS)
        return Window(kernel, stride, (margin(kernel[0]), margin(kernel[1])))
    margin_width = whole("padding", padding, minimum=0)
    return Window(kernel, stride, (margin_width, margin_width))
