"""The fused block in Triton: the code that `hadamax.kernels.cuda` launches.

A tile is some pixels, with all channels of a branch: [pixel, channel], both a power of two, masked beyond their
end. Maps are channels-last, so that a pixel's branches lie one after the other. Everything is computed in float32.
No program writes what another does, so the result is the same every time.
"""

# No `from __future__ import annotations`: Triton reads them.
import triton
import triton.language as tl

KINDS = {"identity": 0, "tanh": 1, "sigmoid": 2, "relu": 3, "gelu": 4, "gelu_tanh": 5, "silu": 6}
TANH, SIGMOID, RELU = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
GELU, GELU_TANH, SILU = tl.constexpr(4), tl.constexpr(5), tl.constexpr(6)
# Sizes that change from call to call: no kernel of its own for those that 16 divides.
SIZES = ["outputs", "pixels", "tiles", "rows", "columns", "pooled_rows", "pooled_columns", "eps"]


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    """(1 - e) / (1 + e) with e = e^-2|x|; a polynomial near zero, where that difference would lose its digits."""
    size = tl.abs(x)
    e = tl.exp(-2.0 * size)
    far = (1.0 - e) / (1.0 + e)
    s = x * x
    p = (s * -5.70498872745e-3 + 2.06390887954e-2) * s - 5.37397155531e-2
    p = (p * s + 1.33314422036e-1) * s - 3.33332819422e-1
    return tl.where(size >= 0.625, tl.where(x < 0.0, -far, far), x + x * s * p)


@triton.jit
def _curve(x, KIND: tl.constexpr):
    """An activation's value and slope."""
    value = x
    slope = tl.zeros_like(x) + 1.0
    if KIND == TANH:
        value = _tanh(x)
        slope = 1.0 - value * value
    if KIND == SIGMOID:
        value = _sigmoid(x)
        slope = value * (1.0 - value)
    if KIND == RELU:
        value = tl.where(x < 0.0, 0.0, x)  # NaN stays
        slope = tl.where(x <= 0.0, 0.0, 1.0)
    if KIND == GELU:
        area = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        value = x * area
        finite = tl.where(x > 1e4, 1e4, tl.where(x < -1e4, -1e4, x))  # no infinity may meet a zero
        slope = area + finite * tl.exp(-0.5 * x * x) * 0.3989422804014327
    if KIND == GELU_TANH:
        # x/2 (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x^3) is x sigmoid(2u).
        s = _sigmoid(x * (1.5957691216057308 + x * x * 0.07135481282553282))
        value = x * s
        square = tl.where(x * x > 1e4, 1e4, x * x)  # beyond, s (1 - s) is zero
        slope = s + value * (1.0 - s) * (1.5957691216057308 + square * 0.21406443847659846)
    if KIND == SILU:
        s = _sigmoid(x)
        value = x * s
        slope = s + value * (1.0 - s)
    return value, slope


@triton.jit
def _normalised(
    x, pixel, channel, mask, eps, BRANCH: tl.constexpr, BRANCHES: tl.constexpr, CHANNELS: tl.constexpr, NORM: tl.constexpr
):
    """One branch of some pixels after its norm [pixel, channel], 0 where masked; what it was scaled by [pixel]."""
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
def _affine(weight, bias, channel, BRANCH: tl.constexpr, CHANNELS: tl.constexpr, AFFINE: tl.constexpr):
    """Scale and shift of a branch, [1, channel]."""
    at = BRANCH * CHANNELS + channel
    scale = tl.zeros_like(channel).to(tl.float32) + 1.0
    shift = tl.zeros_like(channel).to(tl.float32)
    if AFFINE:
        scale = tl.load(weight + at, mask=channel < CHANNELS, other=0.0)
        shift = tl.load(bias + at, mask=channel < CHANNELS, other=0.0)
    return scale[None, :], shift[None, :]


@triton.jit
def _combined(a, b, SUM: tl.constexpr):
    combined = a * b
    if SUM:
        combined = a + b
    return combined


@triton.jit
def _gradients(
    first, second, third, gradient,
    BRANCHES: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, THIRD: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """The output's gradient, passed on to what each branch's activation took."""
    value, slope = _curve(first, FIRST)
    to_first = gradient * slope
    to_second = to_first
    to_third = to_first
    if BRANCHES > 1:
        value_2, slope_2 = _curve(second, SECOND)
        to_second = gradient * slope_2
        if not SUM:
            to_first = to_first * value_2
            to_second = to_second * value
        if BRANCHES > 2:
            value_3, slope_3 = _curve(third, THIRD)
            to_third = gradient * slope_3
            if not SUM:
                to_first = to_first * value_3
                to_second = to_second * value_3
                to_third = to_third * value * value_2
    return to_first, to_second, to_third


@triton.jit
def _store_gradient(
    dx, pixel, channel, mask, gradient, normal, scale,
    BRANCH: tl.constexpr, BRANCHES: tl.constexpr, CHANNELS: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """What the norm makes of the gradient of its output, written as one branch of some pixels."""
    if NORM:
        mean = tl.sum(gradient, axis=1) / CHANNELS
        product = tl.sum(gradient * normal, axis=1) / CHANNELS
        gradient = (gradient - mean[:, None] - normal * product[:, None]) * scale[:, None]
    at = pixel[:, None] * (BRANCHES * CHANNELS) + (BRANCH * CHANNELS + channel)[None, :]
    tl.store(dx + at, gradient.to(dx.dtype.element_ty), mask=mask)


@triton.jit
def _store_sums(
    sums, program, channel, to_weight, to_bias, BRANCH: tl.constexpr, BRANCHES: tl.constexpr, CHANNELS: tl.constexpr
):
    """A program's part of the affine gradients, in [program, weight or bias, branch, channel]."""
    at = (program * 2 * BRANCHES + BRANCH) * CHANNELS + channel
    tl.store(sums + at, to_weight, mask=channel < CHANNELS)
    tl.store(sums + at + BRANCHES * CHANNELS, to_bias, mask=channel < CHANNELS)


@triton.jit(do_not_specialize=SIZES)
def forward(
    x, weight, bias, y, positions,
    outputs, rows, columns, pooled_rows, pooled_columns, eps,
    BRANCHES: tl.constexpr, CHANNELS: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, THIRD: tl.constexpr,
    SUM: tl.constexpr, NORM: tl.constexpr, AFFINE: tl.constexpr,
    WINDOW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """y and positions [image, pooled row, pooled column, channel]; a tile is some outputs, cell by cell.

    A position is row * window + column within the window, padding counted. The first maximum wins and NaN counts
    as the largest, as in PyTorch.
    """
    output = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, WIDTH)
    image = (output // (pooled_rows * pooled_columns)).to(tl.int64)
    top = output // pooled_columns % pooled_rows * STRIDE - PAD
    left = output % pooled_columns * STRIDE - PAD
    scale_1, shift_1 = _affine(weight, bias, channel, 0, CHANNELS, AFFINE)
    scale_2, shift_2 = scale_1, shift_1
    scale_3, shift_3 = scale_1, shift_1
    if BRANCHES > 1:
        scale_2, shift_2 = _affine(weight, bias, channel, 1, CHANNELS, AFFINE)
    if BRANCHES > 2:
        scale_3, shift_3 = _affine(weight, bias, channel, 2, CHANNELS, AFFINE)

    best = tl.full([BLOCK, WIDTH], float("-inf"), tl.float32)
    found = tl.zeros([BLOCK, WIDTH], tl.int32) + (tl.maximum(-top, 0) * WINDOW + tl.maximum(-left, 0))[:, None]
    for cell in range(WINDOW * WINDOW):
        row = top + cell // WINDOW
        column = left + cell % WINDOW
        inside = (output < outputs) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        pixel = (image * rows + row) * columns + column
        mask = inside[:, None] & (channel < CHANNELS)[None, :]
        normal, scale = _normalised(x, pixel, channel, mask, eps, 0, BRANCHES, CHANNELS, NORM)
        value, slope = _curve(normal * scale_1 + shift_1, FIRST)
        if BRANCHES > 1:
            normal, scale = _normalised(x, pixel, channel, mask, eps, 1, BRANCHES, CHANNELS, NORM)
            other, slope = _curve(normal * scale_2 + shift_2, SECOND)
            value = _combined(value, other, SUM)
        if BRANCHES > 2:
            normal, scale = _normalised(x, pixel, channel, mask, eps, 2, BRANCHES, CHANNELS, NORM)
            other, slope = _curve(normal * scale_3 + shift_3, THIRD)
            value = _combined(value, other, SUM)
        better = mask & ((value > best) | (value != value))
        best = tl.where(better, value, best)
        found = tl.where(better, cell, found)
    at = output.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
    mask = (output < outputs)[:, None] & (channel < CHANNELS)[None, :]
    tl.store(y + at, best.to(y.dtype.element_ty), mask=mask)
    tl.store(positions + at, found.to(tl.uint8), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def backward_windows(
    x, weight, bias, dy, positions, dx, sums,
    outputs, tiles, rows, columns, pooled_rows, pooled_columns, eps,
    BRANCHES: tl.constexpr, CHANNELS: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, THIRD: tl.constexpr,
    SUM: tl.constexpr, NORM: tl.constexpr, AFFINE: tl.constexpr,
    WINDOW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """dx as x, where windows do not overlap: a tile is some outputs, each with its own pixels.

    The gradient of an output reaches one pixel in each channel: activations and slopes are computed once an
    output, not once a pixel. Pixels outside all windows are not written.
    """
    program = tl.program_id(0)
    channel = tl.arange(0, WIDTH)
    scale_1, shift_1 = _affine(weight, bias, channel, 0, CHANNELS, AFFINE)
    scale_2, shift_2 = scale_1, shift_1
    scale_3, shift_3 = scale_1, shift_1
    if BRANCHES > 1:
        scale_2, shift_2 = _affine(weight, bias, channel, 1, CHANNELS, AFFINE)
    if BRANCHES > 2:
        scale_3, shift_3 = _affine(weight, bias, channel, 2, CHANNELS, AFFINE)
    to_weight_1 = tl.zeros([WIDTH], tl.float32)
    to_weight_2 = tl.zeros([WIDTH], tl.float32)
    to_weight_3 = tl.zeros([WIDTH], tl.float32)
    to_bias_1 = tl.zeros([WIDTH], tl.float32)
    to_bias_2 = tl.zeros([WIDTH], tl.float32)
    to_bias_3 = tl.zeros([WIDTH], tl.float32)
    for tile in range(program, tiles, tl.num_programs(0)):
        output = tile * BLOCK + tl.arange(0, BLOCK)
        image = (output // (pooled_rows * pooled_columns)).to(tl.int64)
        top = output // pooled_columns % pooled_rows * STRIDE - PAD
        left = output % pooled_columns * STRIDE - PAD
        real = (output < outputs)[:, None] & (channel < CHANNELS)[None, :]
        at = output.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
        position = tl.load(positions + at, mask=real, other=0).to(tl.int32)
        gradient = tl.load(dy + at, mask=real, other=0.0).to(tl.float32)

        # What the winners of each channel were, normalised.
        won_1 = tl.zeros([BLOCK, WIDTH], tl.float32)
        won_2 = tl.zeros([BLOCK, WIDTH], tl.float32)
        won_3 = tl.zeros([BLOCK, WIDTH], tl.float32)
        for cell in range(WINDOW * WINDOW):
            row = top + cell // WINDOW
            column = left + cell % WINDOW
            inside = (output < outputs) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            pixel = (image * rows + row) * columns + column
            mask = inside[:, None] & (channel < CHANNELS)[None, :]
            here = mask & (position == cell)
            normal, scale = _normalised(x, pixel, channel, mask, eps, 0, BRANCHES, CHANNELS, NORM)
            won_1 = tl.where(here, normal, won_1)
            if BRANCHES > 1:
                normal, scale = _normalised(x, pixel, channel, mask, eps, 1, BRANCHES, CHANNELS, NORM)
                won_2 = tl.where(here, normal, won_2)
            if BRANCHES > 2:
                normal, scale = _normalised(x, pixel, channel, mask, eps, 2, BRANCHES, CHANNELS, NORM)
                won_3 = tl.where(here, normal, won_3)

        to_1, to_2, to_3 = _gradients(
            won_1 * scale_1 + shift_1, won_2 * scale_2 + shift_2, won_3 * scale_3 + shift_3, gradient,
            BRANCHES, FIRST, SECOND, THIRD, SUM,
        )  # fmt: skip
        if AFFINE:
            to_weight_1 += tl.sum(to_1 * won_1, axis=0)
            to_bias_1 += tl.sum(to_1, axis=0)
            if BRANCHES > 1:
                to_weight_2 += tl.sum(to_2 * won_2, axis=0)
                to_bias_2 += tl.sum(to_2, axis=0)
            if BRANCHES > 2:
                to_weight_3 += tl.sum(to_3 * won_3, axis=0)
                to_bias_3 += tl.sum(to_3, axis=0)

        for cell in range(WINDOW * WINDOW):
            row = top + cell // WINDOW
            column = left + cell % WINDOW
            inside = (output < outputs) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            pixel = (image * rows + row) * columns + column
            mask = inside[:, None] & (channel < CHANNELS)[None, :]
            here = mask & (position == cell)
            normal, scale = _normalised(x, pixel, channel, mask, eps, 0, BRANCHES, CHANNELS, NORM)
            part = tl.where(here, to_1 * scale_1, 0.0)
            _store_gradient(dx, pixel, channel, mask, part, normal, scale, 0, BRANCHES, CHANNELS, NORM)
            if BRANCHES > 1:
                normal, scale = _normalised(x, pixel, channel, mask, eps, 1, BRANCHES, CHANNELS, NORM)
                part = tl.where(here, to_2 * scale_2, 0.0)
                _store_gradient(dx, pixel, channel, mask, part, normal, scale, 1, BRANCHES, CHANNELS, NORM)
            if BRANCHES > 2:
                normal, scale = _normalised(x, pixel, channel, mask, eps, 2, BRANCHES, CHANNELS, NORM)
                part = tl.where(here, to_3 * scale_3, 0.0)
                _store_gradient(dx, pixel, channel, mask, part, normal, scale, 2, BRANCHES, CHANNELS, NORM)

    if AFFINE:
        _store_sums(sums, program, channel, to_weight_1, to_bias_1, 0, BRANCHES, CHANNELS)
        if BRANCHES > 1:
            _store_sums(sums, program, channel, to_weight_2, to_bias_2, 1, BRANCHES, CHANNELS)
        if BRANCHES > 2:
            _store_sums(sums, program, channel, to_weight_3, to_bias_3, 2, BRANCHES, CHANNELS)


@triton.jit(do_not_specialize=SIZES)
def backward_pixels(
    x, weight, bias, dy, positions, dx, sums,
    pixels, tiles, rows, columns, pooled_rows, pooled_columns, eps,
    BRANCHES: tl.constexpr, CHANNELS: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, THIRD: tl.constexpr,
    SUM: tl.constexpr, NORM: tl.constexpr, AFFINE: tl.constexpr,
    WINDOW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """dx as x, where windows overlap or hold one pixel: a tile is some pixels.

    Each asks the windows that hold it which pixel they chose.
    """
    REACH: tl.constexpr = (WINDOW + STRIDE - 1) // STRIDE  # windows that hold a pixel, along an axis
    program = tl.program_id(0)
    channel = tl.arange(0, WIDTH)
    scale_1, shift_1 = _affine(weight, bias, channel, 0, CHANNELS, AFFINE)
    scale_2, shift_2 = scale_1, shift_1
    scale_3, shift_3 = scale_1, shift_1
    if BRANCHES > 1:
        scale_2, shift_2 = _affine(weight, bias, channel, 1, CHANNELS, AFFINE)
    if BRANCHES > 2:
        scale_3, shift_3 = _affine(weight, bias, channel, 2, CHANNELS, AFFINE)
    to_weight_1 = tl.zeros([WIDTH], tl.float32)
    to_weight_2 = tl.zeros([WIDTH], tl.float32)
    to_weight_3 = tl.zeros([WIDTH], tl.float32)
    to_bias_1 = tl.zeros([WIDTH], tl.float32)
    to_bias_2 = tl.zeros([WIDTH], tl.float32)
    to_bias_3 = tl.zeros([WIDTH], tl.float32)
    for tile in range(program, tiles, tl.num_programs(0)):
        here = tile * BLOCK + tl.arange(0, BLOCK)
        pixel = here.to(tl.int64)
        image = pixel // (rows * columns)
        row = here // columns % rows + PAD
        column = here % columns + PAD
        mask = (here < pixels)[:, None] & (channel < CHANNELS)[None, :]

        gradient = tl.zeros([BLOCK, WIDTH], tl.float32)
        for window in range(REACH * REACH):
            pooled_row = row // STRIDE - window // REACH
            pooled_column = column // STRIDE - window % REACH
            row_within = row - pooled_row * STRIDE
            column_within = column - pooled_column * STRIDE
            holds = (here < pixels) & (row_within < WINDOW) & (column_within < WINDOW)
            holds = holds & (pooled_row >= 0) & (pooled_row < pooled_rows)
            holds = holds & (pooled_column >= 0) & (pooled_column < pooled_columns)
            output = (image * pooled_rows + pooled_row) * pooled_columns + pooled_column
            at = output[:, None] * CHANNELS + channel[None, :]
            asked = holds[:, None] & (channel < CHANNELS)[None, :]
            position = tl.load(positions + at, mask=asked, other=0).to(tl.int32)
            part = tl.load(dy + at, mask=asked, other=0.0).to(tl.float32)
            chosen = asked & (position == (row_within * WINDOW + column_within)[:, None])
            gradient += tl.where(chosen, part, 0.0)

        normal_1, norm_1 = _normalised(x, pixel, channel, mask, eps, 0, BRANCHES, CHANNELS, NORM)
        normal_2, norm_2 = normal_1, norm_1
        normal_3, norm_3 = normal_1, norm_1
        if BRANCHES > 1:
            normal_2, norm_2 = _normalised(x, pixel, channel, mask, eps, 1, BRANCHES, CHANNELS, NORM)
        if BRANCHES > 2:
            normal_3, norm_3 = _normalised(x, pixel, channel, mask, eps, 2, BRANCHES, CHANNELS, NORM)
        to_1, to_2, to_3 = _gradients(
            normal_1 * scale_1 + shift_1, normal_2 * scale_2 + shift_2, normal_3 * scale_3 + shift_3, gradient,
            BRANCHES, FIRST, SECOND, THIRD, SUM,
        )  # fmt: skip
        if AFFINE:
            to_weight_1 += tl.sum(to_1 * normal_1, axis=0)
            to_bias_1 += tl.sum(to_1, axis=0)
            if BRANCHES > 1:
                to_weight_2 += tl.sum(to_2 * normal_2, axis=0)
                to_bias_2 += tl.sum(to_2, axis=0)
            if BRANCHES > 2:
                to_weight_3 += tl.sum(to_3 * normal_3, axis=0)
                to_bias_3 += tl.sum(to_3, axis=0)
        _store_gradient(dx, pixel, channel, mask, to_1 * scale_1, normal_1, norm_1, 0, BRANCHES, CHANNELS, NORM)
        if BRANCHES > 1:
            _store_gradient(dx, pixel, channel, mask, to_2 * scale_2, normal_2, norm_2, 1, BRANCHES, CHANNELS, NORM)
        if BRANCHES > 2:
            _store_gradient(dx, pixel, channel, mask, to_3 * scale_3, normal_3, norm_3, 2, BRANCHES, CHANNELS, NORM)

    if AFFINE:
        _store_sums(sums, program, channel, to_weight_1, to_bias_1, 0, BRANCHES, CHANNELS)
        if BRANCHES > 1:
            _store_sums(sums, program, channel, to_weight_2, to_bias_2, 1, BRANCHES, CHANNELS)
        if BRANCHES > 2:
            _store_sums(sums, program, channel, to_weight_3, to_bias_3, 2, BRANCHES, CHANNELS)
