"""Functions of the Triton kernels: activations, norms and stores of a tile.

A tile is a block of pixels with all channels of a branch: [pixel, channel], both powers of two, with a mask. Maps are
channels-last, so the branches of a pixel are contiguous. Everything is computed in float32.
"""

# No `from __future__ import annotations`: Triton reads the annotations.
import triton
import triton.language as tl

KINDS = {"identity": 0, "tanh": 1, "sigmoid": 2, "relu": 3, "gelu": 4, "gelu_tanh": 5, "silu": 6}
TANH, SIGMOID, RELU = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
GELU, GELU_TANH, SILU = tl.constexpr(4), tl.constexpr(5), tl.constexpr(6)


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    """tanh as (1 - e) / (1 + e) with e = e^-2|x|; near zero a polynomial, because the difference loses precision."""
    size = tl.abs(x)
    e = tl.exp(-2.0 * size)
    far = (1.0 - e) / (1.0 + e)
    s = x * x
    p = (s * -5.70498872745e-3 + 2.06390887954e-2) * s - 5.37397155531e-2
    p = (p * s + 1.33314422036e-1) * s - 3.33332819422e-1
    return tl.where(size >= 0.625, tl.where(x < 0.0, -far, far), x + x * s * p)


@triton.jit
def curve(x, KIND: tl.constexpr):
    """Return an activation's value and slope."""
    value = x
    slope = tl.zeros_like(x) + 1.0
    if KIND == TANH:
        value = _tanh(x)
        slope = 1.0 - value * value
    if KIND == SIGMOID:
        value = _sigmoid(x)
        slope = value * (1.0 - value)
    if KIND == RELU:
        value = tl.where(x < 0.0, 0.0, x)  # propagates NaN
        slope = tl.where(x <= 0.0, 0.0, 1.0)
    if KIND == GELU:
        area = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        value = x * area
        finite = tl.where(x > 1e4, 1e4, tl.where(x < -1e4, -1e4, x))  # avoids infinity times 0
        slope = area + finite * tl.exp(-0.5 * x * x) * 0.3989422804014327
    if KIND == GELU_TANH:
        # x/2 (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x^3) is x sigmoid(2u).
        s = _sigmoid(x * (1.5957691216057308 + x * x * 0.07135481282553282))
        value = x * s
        square = tl.where(x * x > 1e4, 1e4, x * x)  # beyond it s (1 - s) is 0
        slope = s + value * (1.0 - s) * (1.5957691216057308 + square * 0.21406443847659846)
    if KIND == SILU:
        s = _sigmoid(x)
        value = x * s
        slope = s + value * (1.0 - s)
    return value, slope


@triton.jit
def normalised(
    x,
    pixel,
    channel,
    mask,
    eps,
    BRANCH: tl.constexpr,
    BRANCHES: tl.constexpr,
    CHANNELS: tl.constexpr,
    NORM: tl.constexpr,
):
    """Return one normalised branch of a tile, [pixel, channel], 0 if masked, and the norm's scale [pixel]."""
    at = pixel[:, None] * (BRANCHES * CHANNELS) + (BRANCH * CHANNELS + channel)[None, :]
    normal = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    scale = pixel.to(tl.float32) * 0.0 + 1.0
    if NORM:
        mean = tl.sum(normal, axis=1) / CHANNELS
        centred = tl.where(mask, normal - mean[:, None], 0.0)
        variance = tl.sum(centred * centred, axis=1) / CHANNELS
        scale = 1.0 / tl.sqrt(variance + eps)
        normal = tl.where(mask, centred * scale[:, None], 0.0)
    return normal, scale


@triton.jit
def affine(weight, bias, channel, BRANCH: tl.constexpr, CHANNELS: tl.constexpr, AFFINE: tl.constexpr):
    """Return scale and shift of a branch, [1, channel]."""
    at = BRANCH * CHANNELS + channel
    scale = tl.zeros_like(channel).to(tl.float32) + 1.0
    shift = tl.zeros_like(channel).to(tl.float32)
    if AFFINE:
        scale = tl.load(weight + at, mask=channel < CHANNELS, other=0.0)
        shift = tl.load(bias + at, mask=channel < CHANNELS, other=0.0)
    return scale[None, :], shift[None, :]


@triton.jit
def combined(a, b, SUM: tl.constexpr):
    combined = a * b
    if SUM:
        combined = a + b
    return combined


@triton.jit
def gradients(
    first, second, third, gradient,
    BRANCHES: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, THIRD: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Return the gradient of each branch's activation input, from the output's gradient."""
    value, slope = curve(first, FIRST)
    to_first = gradient * slope
    to_second = to_first
    to_third = to_first
    if BRANCHES > 1:
        value_2, slope_2 = curve(second, SECOND)
        to_second = gradient * slope_2
        if not SUM:
            to_first = to_first * value_2
            to_second = to_second * value
        if BRANCHES > 2:
            value_3, slope_3 = curve(third, THIRD)
            to_third = gradient * slope_3
            if not SUM:
                to_first = to_first * value_3
                to_second = to_second * value_3
                to_third = to_third * value * value_2
    return to_first, to_second, to_third


@triton.jit
def store_gradient(
    dx, pixel, channel, mask, gradient, normal, scale,
    BRANCH: tl.constexpr, BRANCHES: tl.constexpr, CHANNELS: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Apply the norm's backward pass and store the gradient of one branch of a block of pixels."""
    if NORM:
        mean = tl.sum(gradient, axis=1) / CHANNELS
        product = tl.sum(gradient * normal, axis=1) / CHANNELS
        gradient = (gradient - mean[:, None] - normal * product[:, None]) * scale[:, None]
    at = pixel[:, None] * (BRANCHES * CHANNELS) + (BRANCH * CHANNELS + channel)[None, :]
    tl.store(dx + at, gradient.to(dx.dtype.element_ty), mask=mask)


@triton.jit
def store_sums(
    sums, program, channel, to_weight, to_bias, BRANCH: tl.constexpr, BRANCHES: tl.constexpr, CHANNELS: tl.constexpr
):
    """Store a program's part of the affine gradients, in [program, weight or bias, branch, channel]."""
    at = (program * 2 * BRANCHES + BRANCH) * CHANNELS + channel
    tl.store(sums + at, to_weight, mask=channel < CHANNELS)
    tl.store(sums + at + BRANCHES * CHANNELS, to_bias, mask=channel < CHANNELS)
