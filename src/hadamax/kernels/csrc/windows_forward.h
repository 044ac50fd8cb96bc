// Forward pass of pooling windows that do not overlap: each pixel belongs to at most one output. Without a pool, a window is
// one pixel. The backward pass is in windows_backward.h.
#pragma once
#include "pixels.h"

// Maximum of a window and its position, for a vector of channels.
struct Maximum {
    Floats value;
    Ints cell;
};

// Forward pass of one window.
struct Window {
    const Sizes& s;
    const Affine& affine;
    const Statistics& statistics;
    const Element* strip;
    size_t next_strip;
    Pixels pixels;

    // The first maximum; NaN counts as the largest, the last one wins, as in PyTorch.
    template <class Count>
    INLINED Maximum maximum(int c, Count count) const {
        if constexpr (HADAMAX_WINDOW == 1) return only(c, count);
        bool may_have_nan;
        const Maximum found = pixels.whole() ? maximum_without_nan<true>(c, count, may_have_nan)
                                             : maximum_without_nan<false>(c, count, may_have_nan);
        return may_have_nan ? maximum_with_nan(c, count) : found;
    }

  private:
    template <class Count>
    INLINED Maximum only(int c, Count count) const {
        Floats found;
        for_each_value<true>(c, count, [&](Floats value, Ints) { found = value; });
        return {found, Ints{}};
    }

    // Correct if there is no NaN. NaN is detected by the sum, which costs one addition per pixel; a comparison would need the
    // execution units that are the bottleneck. Infinities set `may_have_nan` too.
    template <bool whole, class Count>
    INLINED Maximum maximum_without_nan(int c, Count count, bool& may_have_nan) const {
        Maximum best = first();
        Floats sum = {};
        for_each_value<whole>(c, count, [&](Floats value, Ints cell) {
            const Ints better = value > best.value;
            best = {better ? value : best.value, better ? cell : best.cell};
            sum += value;
        });
        may_have_nan = any(sum != sum);
        return best;
    }

    template <class Count>
    __attribute__((noinline)) Maximum maximum_with_nan(int c, Count count) const {
        Maximum best = first();
        for_each_value<false>(c, count, [&](Floats value, Ints cell) {
            const Ints better = (value > best.value) | (value != value);
            best = {better ? value : best.value, better ? cell : best.cell};
        });
        return best;
    }

    Maximum first() const { return {splat(-INFINITY), Ints{} + pixels.first()}; }

    // Calls body(value, cell) for each pixel.
    template <bool whole, class Count, class Body>
    INLINED void for_each_value(int c, Count count, Body body) const {
        Floats scale[BRANCHES], bias[BRANCHES];
        for (int b = 0; b < BRANCHES; b++) scale[b] = affine.scale(b, c), bias[b] = affine.bias(b, c);
        pixels.for_each<whole>([&](int pixel, int cell) __attribute__((always_inline)) {
            const Element* from = strip + pixel * s.pixel() + c;
            Floats input[BRANCHES];
            for (int b = 0; b < BRANCHES; b++) {
                const Floats raw = load(from + b * s.channels(), count);
                fetch_ahead(from + b * s.channels() + next_strip);
                input[b] = statistics.normalised(b, pixel, raw) * scale[b] + bias[b];
            }
            body(Combination::value(input), Ints{} + cell);
        });
    }
};

// y and positions: [image, pooled row, pooled column, channel]; a position is a cell index of the window.
inline void forward_windows(const Sizes& sizes, const Element* x, const Affine& affine, Element* y,
                            uint8_t* positions) {
    const Sizes s = sizes;
    const size_t next_strip = size_t(s.window()) * s.columns * s.pixel();
    auto workspaces = for_threads(s.threads, [&] { return Statistics(s.window() * s.columns); });
#pragma omp parallel num_threads(s.threads)
    {
        Statistics statistics = std::move(*workspaces[omp_get_thread_num()]);
#pragma omp for collapse(2) schedule(static)
        for (int image = 0; image < s.images; image++)
            for (int pooled_row = 0; pooled_row < s.pooled_rows; pooled_row++) {
                Span rows = window_span(s, pooled_row, s.rows);
                const Element* strip = x + (size_t(image) * s.rows + rows.begin) * s.columns * s.pixel();
                statistics.measure(strip, (rows.end - rows.begin) * s.columns, s);
                for (int pooled_column = 0; pooled_column < s.pooled_columns; pooled_column++) {
                    Span columns = window_span(s, pooled_column, s.columns);
                    size_t out =
                        ((size_t(image) * s.pooled_rows + pooled_row) * s.pooled_columns + pooled_column)
                        * s.channels();
                    const Window window = {s, affine, statistics, strip, next_strip, {s, rows, columns}};
                    for_channels(s.channels(), [&](int c, auto count) {
                        const Maximum found = window.maximum(c, count);
                        store(y + out + c, found.value, count);
                        store_bytes(positions + out + c, found.cell, count);
                    });
                }
            }
    }
}
