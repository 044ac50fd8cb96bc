// Pooling windows that do not overlap, forward (backward: winners.h): each pixel belongs to at most one output. No pool
// is a window of one pixel.
#pragma once
#include "pixels.h"

// What a window found of a vector of channels.
struct Maximum {
    Floats value;
    Ints cell;
};

// A window on its way forward.
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
        bool doubtful;
        const Maximum found = pixels.whole() ? of_numbers<true>(c, count, doubtful) : of_numbers<false>(c, count, doubtful);
        return doubtful ? of_all(c, count) : found;
    }

  private:
    template <class Count>
    INLINED Maximum only(int c, Count count) const {
        Floats found;
        look<true>(c, count, [&](Floats value, Ints) { found = value; });
        return {found, Ints{}};
    }

    // Right where there is no NaN. The sum tells, for one addition a pixel, where to compare would take those units of the
    // processor of which a pixel needs most; infinities can look like one.
    template <bool whole, class Count>
    INLINED Maximum of_numbers(int c, Count count, bool& doubtful) const {
        Maximum best = first();
        Floats sum = {};
        look<whole>(c, count, [&](Floats value, Ints cell) {
            const Ints better = value > best.value;
            best = {better ? value : best.value, better ? cell : best.cell};
            sum += value;
        });
        doubtful = any(sum != sum);
        return best;
    }

    template <class Count>
    __attribute__((noinline)) Maximum of_all(int c, Count count) const {
        Maximum best = first();
        look<false>(c, count, [&](Floats value, Ints cell) {
            const Ints better = (value > best.value) | (value != value);
            best = {better ? value : best.value, better ? cell : best.cell};
        });
        return best;
    }

    Maximum first() const { return {splat(-INFINITY), Ints{} + pixels.first()}; }

    // Calls body(value, cell) for each pixel.
    template <bool whole, class Count, class Body>
    INLINED void look(int c, Count count, Body body) const {
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

// y and positions: [image, pooled row, pooled column, channel]; a position is a cell of the window.
inline void forward_windows(const Sizes& sizes, const Element* x, const Affine& affine, Element* y,
                            uint8_t* positions) {
    const Sizes s = sizes;
    const size_t next_strip = size_t(s.window()) * s.columns * s.pixel();
    auto rooms = for_threads(s.threads, [&] { return Statistics(s.window() * s.columns); });
#pragma omp parallel num_threads(s.threads)
    {
        Statistics statistics = std::move(*rooms[omp_get_thread_num()]);
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
