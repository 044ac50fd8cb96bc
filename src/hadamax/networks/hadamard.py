"""Hadamard layers: z = f(A1 x + B1) * f(A2 x + B2), parallel branches multiplied element by element.

The Hadamard representation (arXiv 2406.09079) puts this in place of a hidden layer f(A x + B). Here the
branches share one merged weight [branches * out, in, ...], so that all of them are one matrix product or
convolution; what follows it, `combine_branches`, is a function of its own.

With GELU in both branches the product is close to a gated linear unit with an activation on both sides; with
activation=("identity", "sigmoid") it is the gated linear unit.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hadamax.kernels import KERNEL_ACTIVATIONS, ByteConvConfig, ConvGeometry, byte_convolution, map_convolution
from hadamax.networks.activations import ActivationSetting, activation_names, resolve_activations
from hadamax.networks.initialisers import InitialiserSetting, resolve_initialiser
from hadamax.networks.names import IntOrPair, lookup, whole
from hadamax.networks.norms import BranchNorm, NoNorm, NormSetting, make_norm
from hadamax.networks.windows import PaddingSetting, make_window

Range = tuple[float, float]

COMBINATIONS: dict[str, Callable[[Any, Any], Any]] = {"product": operator.mul, "sum": operator.add}


def activate_branches(merged: Tensor, norm: nn.Module, activations: Iterable[nn.Module]) -> Iterator[Tensor]:
    """Split into branches and normalise, activate: [..., branches * C] -> [..., C] (crelu: 2C), one after another."""
    for activation, branch in zip(activations, norm(merged), strict=True):
        yield activation(branch)


def combine_branches(
    merged: Tensor, norm: nn.Module, activations: Iterable[nn.Module], combine: Callable[[Any, Any], Any]
) -> Tensor:
    """Split into branches and normalise, activate, combine: [..., branches * C] -> [..., C] (crelu: 2C)."""
    combined: Tensor = reduce(combine, activate_branches(merged, norm, activations))
    return combined


def combine_ranges(ranges: Iterable[Range], combine: Callable[[Any, Any], Any]) -> Range:
    """Return the range of the combination of values from the given ranges."""

    def both(first: Range, second: Range) -> Range:
        ends = [combine(a, b) for a in first for b in second]
        ends = [0.0 if math.isnan(end) else end for end in ends]  # 0 * inf: the bound is never reached
        return min(ends), max(ends)

    return reduce(both, ranges)


class _HadamardLayer(nn.Module):
    """Base class: merged weight, norm, activation and product; `shape` is one branch's weight, [out, in, ...]."""

    bias: nn.Parameter | None
    norm: BranchNorm | NoNorm
    inner_units_last = True
    """Norm and activations are given [..., units], which a probe on one of them has to know."""

    def __init__(
        self,
        shape: tuple[int, ...],
        branches: int,
        activation: ActivationSetting,
        combine: str,
        norm: NormSetting,
        bias: bool,
        initialiser: InitialiserSetting,
    ) -> None:
        super().__init__()
        resolved = resolve_activations(activation, branches)
        self.branches = len(resolved)
        self.combine = combine
        self._combine = lookup("combine", combine, COMBINATIONS)
        self._initialise = resolve_initialiser(initialiser)
        self._settings = f"branches={self.branches}, combine={combine!r}, bias={bias}"
        merged = self.branches * shape[0]
        self.weight = nn.Parameter(torch.empty(merged, *shape[1:]))
        self.register_parameter("bias", nn.Parameter(torch.empty(merged)) if bias else None)
        self.norm = make_norm(norm, self.branches, shape[0], spatial=len(shape) > 2)
        self.activations = nn.ModuleList(entry.make() for entry in resolved)
        self._out_width = shape[0] * resolved[0].width
        self._ranges = [entry.range for entry in resolved]
        linear = all(isinstance(module, nn.Identity) for module in self.activations)
        self.output_range = None if linear else combine_ranges(self._ranges, self._combine)
        self._kernel_settings, self._made = self._settings_by_name(activation), (self.norm, *self.activations)
        self.reset_parameters()

    @property
    def kernel_settings(self) -> dict[str, Any] | None:
        """The layer's options for `hadamax_block`; None where an activation has a state or another width, or
        another module has been put in the place of one or of the norm.
        """
        inside = self.norm, *self.activations
        replaced = any(now is not then for now, then in zip(inside, self._made, strict=True))
        return None if replaced else self._kernel_settings

    def _settings_by_name(self, activation: ActivationSetting) -> dict[str, Any] | None:
        names = activation_names(activation, self.branches)
        if not set(names) <= KERNEL_ACTIVATIONS:
            return None
        return {
            "branches": self.branches,
            "activations": names,
            "combine": self.combine,
            "norm": self.norm.over,
        }

    def initialise(self, initialiser: InitialiserSetting) -> None:
        """Draw weight and bias anew by another initialiser, and keep that initialiser."""
        self._initialise = resolve_initialiser(initialiser)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, branch after branch."""
        weights = self.weight.detach().chunk(self.branches)
        biases = [None] * self.branches if self.bias is None else self.bias.detach().chunk(self.branches)
        for weight, bias in zip(weights, biases, strict=True):
            self._initialise(weight, bias)

    def branch_activations(self, x: Tensor, **kwargs: Any) -> list[Tensor]:
        """Return each branch after its activation, in the shape of the layer's output."""
        raise NotImplementedError

    def combined(self, branches: Iterable[Tensor]) -> Tensor:
        """The product (or sum) of activated branches."""
        product: Tensor = reduce(self._combine, branches)
        return product

    def inner_activations(self, x: Tensor, **kwargs: Any) -> dict[str, tuple[Tensor, Range]]:
        """Return what a probe records beside the output: the branches, if there are several, each with its range."""
        if self.branches == 1:
            return {}
        branches = zip(self.branch_activations(x, **kwargs), self._ranges, strict=True)
        return {f"branch {number}": branch for number, branch in enumerate(branches, start=1)}


class HadamardLinear(_HadamardLayer):
    """A dense Hadamard layer, with its activation: float [..., in_features] -> float [..., out_features].

    `activation` is one name or a name per branch (see `ACTIVATIONS`); `combine` is "product" or "sum"; `norm`
    is None, "channels", "map" or a `Norm`, before the activation and over the features of each branch;
    `initialiser` is a name (see `INITIALISERS`) or a function of one branch's weight and bias. branches=1 is
    the ordinary layer. A crelu layer has twice the requested width: the attribute `out_features` is the actual
    width.

    Raises ValueError or TypeError, in one line, for invalid settings and for inputs of another width.

    Source: arXiv 2406.09079, section 4; three branches ("2HR") and the sum are its ablations (Fig. 8).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        branches: int = 2,
        activation: ActivationSetting = "tanh",
        combine: str = "product",
        norm: NormSetting = None,
        bias: bool = True,
        initialiser: InitialiserSetting = "torch",
    ) -> None:
        shape = (whole("out_features", out_features), whole("in_features", in_features))
        super().__init__(shape, branches, activation, combine, norm, bias, initialiser)
        self.in_features, self.out_features = shape[1], self._out_width

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(f"HadamardLinear expects [..., {self.in_features}], got {list(x.shape)}")
        merged = F.linear(x, self.weight, self.bias)  # [..., branches * out]
        return combine_branches(merged, self.norm, self.activations, self._combine)

    def branch_activations(self, x: Tensor, **kwargs: Any) -> list[Tensor]:
        """[..., in_features] -> `branches` tensors of [..., out_features]."""
        return list(activate_branches(F.linear(x, self.weight, self.bias), self.norm, self.activations))

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self._settings}"


class HadamardConv2d(_HadamardLayer):
    """A convolutional Hadamard layer, with its activation: float [N, in, H, W] -> float [N, out, H', W'].

    `padding` is "same" (Flax's: ceil(size / stride) outputs, uneven for even kernels), "valid", "half"
    (kernel // 2 on every side) or a number of pixels; `kernel_size` and `stride` are a number or (height,
    width). The rest is as in `HadamardLinear`, except that `norm` "channels" is over the channels of each pixel
    and "map" over channels, height and width. A crelu layer has twice the requested width: `out_channels` is the
    actual width.

    Raises ValueError or TypeError, in one line, for invalid settings and for inputs of another shape.

    Source: arXiv 2406.09079, section 4; with norm, GELU and a max-pool after it, Hadamax, arXiv 2505.15345.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        *,
        stride: IntOrPair = 1,
        padding: PaddingSetting = "same",
        branches: int = 2,
        activation: ActivationSetting = "tanh",
        combine: str = "product",
        norm: NormSetting = None,
        bias: bool = True,
        initialiser: InitialiserSetting = "torch",
    ) -> None:
        window = make_window(kernel_size, stride, padding)
        if isinstance(padding, int) and padding >= min(window.kernel):  # a window could contain only padding
            raise ValueError(f"padding must be less than the kernel ({min(window.kernel)}), not {padding}")
        shape = (whole("out_channels", out_channels), whole("in_channels", in_channels), *window.kernel)
        super().__init__(shape, branches, activation, combine, norm, bias, initialiser)
        self.in_channels, self.out_channels = shape[1], self._out_width
        self.window, self.kernel_size, self.stride, self.padding = (
            window,
            window.kernel,
            window.stride,
            padding,
        )

    def convolve(self, x: Tensor, *, scale: float | None = None) -> Tensor:
        """The convolution of all branches: [N, in, H, W] -> [N, branches * out, H', W'].

        With a `scale` x is uint8, divided by it in the same pass.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"HadamardConv2d expects [N, {self.in_channels}, H, W], got {list(x.shape)}")
        if scale is not None:
            return byte_convolution(x, self.weight, self.bias, self.byte_geometry(x, scale))
        place = ConvGeometry(self.stride, self.window.margins(x.shape[2], x.shape[3]))
        return map_convolution(x, self.weight, self.bias, place)

    def byte_geometry(self, x: Tensor, scale: float) -> ByteConvConfig:
        """Return the configuration of `byte_convolution` for uint8 x."""
        return ByteConvConfig(
            self.stride, self.window.margins(x.shape[2], x.shape[3]), scale, self.dtype(x.device.type)
        )

    def dtype(self, device: str) -> torch.dtype:
        """The dtype in which the layer computes: its weight's dtype, or autocast's."""
        dtype = self.weight.dtype
        known = dtype == torch.float32 and torch.amp.is_autocast_available(device)
        return torch.get_autocast_dtype(device) if known and torch.is_autocast_enabled(device) else dtype

    def combine_branches(self, merged: Tensor) -> Tensor:
        """Apply the norm, activations and product: [N, branches * C, H, W] -> [N, out_channels, H, W]."""
        pixels = merged.movedim(1, -1)
        return combine_branches(pixels, self.norm, self.activations, self._combine).movedim(-1, 1)

    def forward(self, x: Tensor, *, scale: float | None = None) -> Tensor:
        return self.combine_branches(self.convolve(x, scale=scale))

    def branch_activations(self, x: Tensor, **kwargs: Any) -> list[Tensor]:
        """[N, in, H, W] -> `branches` tensors of [N, out_channels, H', W']; `kwargs` go to `convolve`."""
        pixels = self.convolve(x, **kwargs).movedim(1, -1)
        return [branch.movedim(-1, 1) for branch in activate_branches(pixels, self.norm, self.activations)]

    def extra_repr(self) -> str:
        window = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}"
        return f"{self.in_channels}, {self.out_channels}, {window}, {self._settings}"
