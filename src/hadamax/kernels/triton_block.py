"""Triton kernels of the fused block, launched by `hadamax.kernels.cuda`.

Tiles and layouts are those of `triton_parts`. Each address is written by one program, and sums have a fixed order, so
results are deterministic.
"""

# No `from __future__ import annotations`: Triton reads the annotations.
import triton
import triton.language as tl

from hadamax.kernels.triton_parts import (
    affine,
    combined,
    curve,
    gradients,
    normalised,
    store_gradient,
    store_sums,
)  # fmt: skip

# Sizes that change between calls: without this, Triton would compile a separate kernel for multiples of 16.
SIZES = ["outputs", "pixels", "tiles", "rows", "columns", "pooled_rows", "pooled_columns", "eps"]


@triton.jit(do_not_specialize=SIZES)
def forward(
    x, weight, bias, y, positions,
    outputs, rows, columns, pooled_rows, pooled_columns, eps,
    BRANCHES: tl.constexpr, CHANNELS: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, THIRD: tl.constexpr,
    SUM: tl.constexpr, NORM: tl.constexpr, AFFINE: tl.constexpr,
    WINDOW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute y and positions [image, pooled row, pooled column, channel]; a tile is a block of outputs.

    A position is row * window + column within the window, including padding. As in PyTorch, the first maximum is chosen
    and NaN counts as the largest value.
    """
    output = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, WIDTH)
    image = (output // (pooled_rows * pooled_columns)).to(tl.int64)
    top = output // pooled_columns % pooled_rows * STRIDE - PAD
    left = output % pooled_columns * STRIDE - PAD
    scale_1, shift_1 = affine(weight, bias, channel, 0, CHANNELS, AFFINE)
    scale_2, shift_2 = scale_1, shift_1
    scale_3, shift_3 = scale_1, shift_1
    if BRANCHES > 1:
        scale_2, shift_2 = affine(weight, bias, channel, 1, CHANNELS, AFFINE)
    if BRANCHES > 2:
        scale_3, shift_3 = affine(weight, bias, channel, 2, CHANNELS, AFFINE)

    best = tl.full([BLOCK, WIDTH], float("-inf"), tl.float32)
    found = tl.zeros([BLOCK, WIDTH], tl.int32) + (tl.maximum(-top, 0) * WINDOW + tl.maximum(-left, 0))[:, None]
    for cell in range(WINDOW * WINDOW):
        row = top + cell // WINDOW
        column = left + cell % WINDOW
        inside = (output < outputs) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        pixel = (image * rows + row) * columns + column
        mask = inside[:, None] & (channel < CHANNELS)[None, :]
        normal, _scale = normalised(x, pixel, channel, mask, eps, 0, BRANCHES, CHANNELS, NORM)
        value, _slope = curve(normal * scale_1 + shift_1, FIRST)
        if BRANCHES > 1:
            normal, _scale = normalised(x, pixel, channel, mask, eps, 1, BRANCHES, CHANNELS, NORM)
            other, _slope = curve(normal * scale_2 + shift_2, SECOND)
            value = combined(value, other, SUM)
        if BRANCHES > 2:
            normal, _scale = normalised(x, pixel, channel, mask, eps, 2, BRANCHES, CHANNELS, NORM)
            other, _slope = curve(normal * scale_3 + shift_3, THIRD)
            value = combined(value, other, SUM)
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
    """Compute dx (laid out as x) for windows that do not overlap; a tile is a block of outputs with their pixels.

    The gradient of an output reaches one pixel per channel, so activations and slopes are computed once per output
    instead of once per pixel. Pixels outside all windows are not written.
    """
    program = tl.program_id(0)
    channel = tl.arange(0, WIDTH)
    scale_1, shift_1 = affine(weight, bias, channel, 0, CHANNELS, AFFINE)
    scale_2, shift_2 = scale_1, shift_1
    scale_3, shift_3 = scale_1, shift_1
    if BRANCHES > 1:
        scale_2, shift_2 = affine(weight, bias, channel, 1, CHANNELS, AFFINE)
    if BRANCHES > 2:
        scale_3, shift_3 = affine(weight, bias, channel, 2, CHANNELS, AFFINE)
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

        # Normalised values of the maxima of each channel.
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
            normal, _scale = normalised(x, pixel, channel, mask, eps, 0, BRANCHES, CHANNELS, NORM)
            won_1 = tl.where(here, normal, won_1)
            if BRANCHES > 1:
                normal, _scale = normalised(x, pixel, channel, mask, eps, 1, BRANCHES, CHANNELS, NORM)
                won_2 = tl.where(here, normal, won_2)
            if BRANCHES > 2:
                normal, _scale = normalised(x, pixel, channel, mask, eps, 2, BRANCHES, CHANNELS, NORM)
                won_3 = tl.where(here, normal, won_3)

        to_1, to_2, to_3 = gradients(
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
            normal, scale = normalised(x, pixel, channel, mask, eps, 0, BRANCHES, CHANNELS, NORM)
            part = tl.where(here, to_1 * scale_1, 0.0)
            store_gradient(dx, pixel, channel, mask, part, normal, scale, 0, BRANCHES, CHANNELS, NORM)
            if BRANCHES > 1:
                normal, scale = normalised(x, pixel, channel, mask, eps, 1, BRANCHES, CHANNELS, NORM)
                part = tl.where(here, to_2 * scale_2, 0.0)
                store_gradient(dx, pixel, channel, mask, part, normal, scale, 1, BRANCHES, CHANNELS, NORM)
            if BRANCHES > 2:
                normal, scale = normalised(x, pixel, channel, mask, eps, 2, BRANCHES, CHANNELS, NORM)
                part = tl.where(here, to_3 * scale_3, 0.0)
                store_gradient(dx, pixel, channel, mask, part, normal, scale, 2, BRANCHES, CHANNELS, NORM)

    if AFFINE:
        store_sums(sums, program, channel, to_weight_1, to_bias_1, 0, BRANCHES, CHANNELS)
        if BRANCHES > 1:
            store_sums(sums, program, channel, to_weight_2, to_bias_2, 1, BRANCHES, CHANNELS)
        if BRANCHES > 2:
            store_sums(sums, program, channel, to_weight_3, to_bias_3, 2, BRANCHES, CHANNELS)


@triton.jit(do_not_specialize=SIZES)
def backward_pixels(
    x, weight, bias, dy, positions, dx, sums,
    pixels, tiles, rows, columns, pooled_rows, pooled_columns, eps,
    BRANCHES: tl.constexpr, CHANNELS: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, THIRD: tl.constexpr,
    SUM: tl.constexpr, NORM: tl.constexpr, AFFINE: tl.constexpr,
    WINDOW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute dx (laid out as x) for windows that overlap or hold one pixel; a tile is a block of pixels.

    Each pixel reads the positions of all windows that contain it.
    """
    REACH: tl.constexpr = (WINDOW + STRIDE - 1) // STRIDE  # windows that contain a pixel, along an axis
    program = tl.program_id(0)
    channel = tl.arange(0, WIDTH)
    scale_1, shift_1 = affine(weight, bias, channel, 0, CHANNELS, AFFINE)
    scale_2, shift_2 = scale_1, shift_1
    scale_3, shift_3 = scale_1, shift_1
    if BRANCHES > 1:
        scale_2, shift_2 = affine(weight, bias, channel, 1, CHANNELS, AFFINE)
    if BRANCHES > 2:
        scale_3, shift_3 = affine(weight, bias, channel, 2, CHANNELS, AFFINE)
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

        normal_1, norm_1 = normalised(x, pixel, channel, mask, eps, 0, BRANCHES, CHANNELS, NORM)
        normal_2, norm_2 = normal_1, norm_1
        normal_3, norm_3 = normal_1, norm_1
        if BRANCHES > 1:
            normal_2, norm_2 = normalised(x, pixel, channel, mask, eps, 1, BRANCHES, CHANNELS, NORM)
        if BRANCHES > 2:
            normal_3, norm_3 = normalised(x, pixel, channel, mask, eps, 2, BRANCHES, CHANNELS, NORM)
        to_1, to_2, to_3 = gradients(
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
        store_gradient(dx, pixel, channel, mask, to_1 * scale_1, normal_1, norm_1, 0, BRANCHES, CHANNELS, NORM)
        if BRANCHES > 1:
            store_gradient(dx, pixel, channel, mask, to_2 * scale_2, normal_2, norm_2, 1, BRANCHES, CHANNELS, NORM)
        if BRANCHES > 2:
            store_gradient(dx, pixel, channel, mask, to_3 * scale_3, normal_3, norm_3, 2, BRANCHES, CHANNELS, NORM)

    if AFFINE:
        store_sums(sums, program, channel, to_weight_1, to_bias_1, 0, BRANCHES, CHANNELS)
        if BRANCHES > 1:
            store_sums(sums, program, channel, to_weight_2, to_bias_2, 1, BRANCHES, CHANNELS)
        if BRANCHES > 2:
            store_sums(sums, program, channel, to_weight_3, to_bias_3, 2, BRANCHES, CHANNELS)
