// Pooling windows that do not overlap: each pixel belongs to at most one output. No pool is a window of one
// pixel.
#pragma once
#include "call.h"

// Calls body(number) for each of a sequence, written out.
template <class Body, int... numbers>
INLINE void each(Body body, std::integer_sequence<int, numbers...>) {
    (body(numbers), ...);
}

// What a window found of a vector of channels.
struct Maximum {
    Floats value;
    Ints position;  // row * window + column within the window, counted before clipping to the map
};

// A window on its way forward.
struct Window {
    const Sizes& s;
    const Affine& affine;
    const Statistics& statistics;
    const Element* strip;
    Span rows, columns;
    size_t next_strip;

    // The first maximum; NaN counts as the largest, the last one wins, as in PyTorch.
    template <class Count>
    INLINED Maximum maximum(int c, Count count) const {
        if constexpr (HADAMAX_WINDOW == 1) return only(c, count);
        bool doubtful;
        const bool whole = HADAMAX_WINDOW && rows.end - rows.begin == s.window() && columns.end - columns.begin == s.window();
        const Maximum found = whole ? of_numbers<true>(c, count, doubtful) : of_numbers<false>(c, count, doubtful);
        return doubtful ? of_all(c, count) : found;
    }

  private:
    template <class Count>
    INLINED Maximum only(int c, Count count) const {
        Floats found;
        for_pixels<true>(c, count, [&](Floats value, Ints) { found = value; });
        return {found, Ints{}};
    }

    // Right where there is no NaN. The sum tells, for one addition a pixel, where to compare would take those units of the
    // processor of which a pixel needs most; infinities can look like one.
    template <bool whole, class Count>
    INLINED Maximum of_numbers(int c, Count count, bool& doubtful) const {
        Maximum best = first();
        Floats sum = {};
        for_pixels<whole>(c, count, [&](Floats value, Ints position) {
            const Ints better = value > best.value;
            best = {better ? value : best.value, better ? position : best.position};
            sum += value;
        });
        doubtful = any(sum != sum);
        return best;
    }

    template <class Count>
    __attribute__((noinline)) Maximum of_all(int c, Count count) const {
        Maximum best = first();
        for_pixels<false>(c, count, [&](Floats value, Ints position) {
            const Ints better = (value > best.value) | (value != value);
            best = {better ? value : best.value, better ? position : best.position};
        });
        return best;
    }

    Maximum first() const { return {splat(-INFINITY), Ints{} + position(rows.begin, columns.begin)}; }
    int position(int row, int column) const { return (row - rows.origin) * s.window() + column - columns.origin; }

    // Calls body(value, position) for each pixel; of a whole window a row is written out.
    template <bool whole, class Count, class Body>
    INLINED void for_pixels(int c, Count count, Body body) const {
        Floats scale[BRANCHES], bias[BRANCHES];
        for (int b = 0; b < BRANCHES; b++) scale[b] = affine.scale(b, c), bias[b] = affine.bias(b, c);
        auto look = [&](int row, int column) __attribute__((always_inline)) {
            const int pixel = (row - rows.begin) * s.columns + column;
            const Element* from = strip + pixel * s.pixel() + c;
            Floats input[BRANCHES];
            for (int b = 0; b < BRANCHES; b++) {
                const Floats raw = load(from + b * s.channels(), count);
                fetch_ahead(from + b * s.channels() + next_strip);
                input[b] = statistics.normalised(b, pixel, raw) * scale[b] + bias[b];
            }
            body(Combination::value(input), Ints{} + position(row, column));
        };
        for (int row = rows.begin; row < rows.end; row++)
            if constexpr (whole)
                each([&](int column) __attribute__((always_inline)) { look(row, columns.begin + column); },
                     std::make_integer_sequence<int, HADAMAX_WINDOW>{});
            else
                for (int column = columns.begin; column < columns.end; column++) look(row, column);
    }
};

// y and positions: [image, pooled row, pooled column, channel].
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
                    const Window window = {s, affine, statistics, strip, rows, columns, next_strip};
                    for_channels(s.channels(), [&](int c, auto count) {
                        const Maximum found = window.maximum(c, count);
                        store(y + out + c, found.value, count);
                        store_bytes(positions + out + c, found.position, count);
                    });
                }
            }
    }
}

// A window on its way back. Each channel has one pixel that the gradient reaches: activations and their
// slopes are computed once an output, not once a pixel.
struct WindowGradient {
    const Sizes& s;
    const Affine& affine;
    int cells, stride;
    std::vector<float> scales, shifts;   // [branch, cell]: each pixel's norm; LANES more may be read
    std::vector<float> slopes, offsets;  // [branch, cell]
    std::vector<float> gradients;        // [branch, padded channel], to `normalised` of the winning pixel
    std::vector<float> products;         // the same times `normalised`
    std::vector<int32_t> winners;        // [padded channel]
    std::vector<Floats> sums;            // [branch, gradient or product, cell]

    WindowGradient(const Sizes& s, const Affine& affine)
        : s(s),
          affine(affine),
          cells(s.window() * s.window()),
          stride((cells + LANES - 1) / LANES * LANES),
          scales(size_t(BRANCHES + 1) * stride),
          shifts(scales),
          slopes(scales),
          offsets(scales),
          gradients(size_t(BRANCHES) * s.padded_channels()),
          products(gradients),
          winners(s.padded_channels()),
          sums(size_t(BRANCHES) * 2 * stride) {}

    // The winners' gradients, from the output's gradient `dy` and the positions kept by the forward pass.
    void select(const Element* strip, Span rows, Span columns, const Statistics& statistics,
                const Element* dy, const uint8_t* positions, AffineGradient& affine_gradient,
                size_t next_strip) {
        for (int row = rows.begin; row < rows.end; row++)
            for (int column = columns.begin; column < columns.end; column++)
                for (int b = 0; b < BRANCHES; b++) {
                    int cell = (row - rows.origin) * s.window() + column - columns.origin;
                    int pixel = (row - rows.begin) * s.columns + column;
                    scales[b * stride + cell] = statistics.scales[b][pixel];
                    shifts[b * stride + cell] = statistics.shifts[b][pixel];
                }
        for_channels(s.channels(), [&](int c, auto count) {
            typedef typename Stored<Element>::Mask Mask;
            typename Stored<Element>::Raw raw[BRANCHES] = {};
            Ints winner = load_bytes(positions + c, count);
            Mask narrow = as_mask(winner, raw[0]);
            for (int row = rows.begin; row < rows.end; row++)
                for (int column = columns.begin; column < columns.end; column++) {
                    const Element* from = strip + ((row - rows.begin) * s.columns + column) * s.pixel() + c;
                    int cell = (row - rows.origin) * s.window() + column - columns.origin;
                    Mask here = narrow == (typename Stored<Element>::Lane)cell;
                    for (int b = 0; b < BRANCHES; b++) {
                        raw[b] = here ? load_raw(from + b * s.channels(), count) : raw[b];
                        fetch_ahead(from + b * s.channels() + next_strip);
                    }
                }
            Floats normalised[BRANCHES], input[BRANCHES], to_branch[BRANCHES];
            for (int b = 0; b < BRANCHES; b++) {
                Floats x = widen(raw[b]);
                normalised[b] = NORMED ? normalise(x, lookup(&scales[b * stride], winner, cells),
                                                   lookup(&shifts[b * stride], winner, cells))
                                       : x;
                input[b] = normalised[b] * affine.scale(b, c) + affine.bias(b, c);
            }
            Combination::gradient(input, load(dy + c, count), to_branch);
            store((float*)&winners[c], (Floats)winner);
            for (int b = 0; b < BRANCHES; b++) {
                affine_gradient.add(b, c, to_branch[b] * normalised[b], to_branch[b]);
                Floats gradient = to_branch[b] * affine.scale(b, c);
                store(&gradients[b * s.padded_channels() + c], gradient);
                store(&products[b * s.padded_channels() + c], gradient * normalised[b]);
            }
        });
    }

    // What the winners' gradients owe to the means and variances of their pixels.
    void spread_over_norm() {
        const int channels = s.padded_channels();
        for (int cell = 0; cell < cells; cell++) {
            Floats gradient[BRANCHES] = {}, product[BRANCHES] = {};
            for (int c = 0; c < channels; c += LANES) {
                Ints here = (Ints)load((float*)&winners[c]) == cell;
                for (int b = 0; b < BRANCHES; b++) {
                    gradient[b] += here ? load(&gradients[b * channels + c]) : Floats{};
                    product[b] += here ? load(&products[b * channels + c]) : Floats{};
                }
            }
            for (int b = 0; b < BRANCHES; b++) {
                sums[(2 * b) * stride + cell] = gradient[b];
                sums[(2 * b + 1) * stride + cell] = product[b];
            }
        }
        for (int b = 0; b < BRANCHES; b++)
            for (int cell = 0; cell < cells; cell += LANES) {
                int at = b * stride + cell;
                spread(load(&scales[at]), load(&shifts[at]), row_sums(&sums[2 * b * stride + cell]),
                       row_sums(&sums[(2 * b + 1) * stride + cell]), 1.0f / s.channels(), &slopes[at],
                       &offsets[at]);
            }
    }

    template <bool streams>
    void write(const Element* strip, Span rows, Span columns, Element* dx) const {
        for (int row = rows.begin; row < rows.end; row++)
            for (int column = columns.begin; column < columns.end; column++) {
                size_t pixel = ((row - rows.begin) * s.columns + column) * s.pixel();
                int cell = (row - rows.origin) * s.window() + column - columns.origin;
                for (int b = 0; b < BRANCHES; b++) {
                    const Element* from = strip + pixel + b * s.channels();
                    Element* to = dx + pixel + b * s.channels();
                    const float* gradient = &gradients[b * s.padded_channels()];
                    int at = b * stride + cell;
                    for_channels(s.channels(), [&](int c, auto count) {
                        Ints here = (Ints)load((float*)&winners[c]) == cell;
                        Floats result = here ? load(gradient + c) * scales[at] : Floats{};
                        if (NORMED) result += owed(load(from + c, count), shifts[at], slopes[at], offsets[at]);
                        if (streams)
                            stream(to + c, result);
                        else {
                            __builtin_prefetch(to + c + s.window() * s.pixel(), 1);  // of the next window
                            store(to + c, result, count);
                        }
                    });
                }
            }
    }
};

// dx like x; to_affine: [thread, scales or biases, branch, channel], zeros on entry.
inline void backward_windows(const Sizes& sizes, const Element* x, const Affine& affine, const Element* dy,
                             const uint8_t* positions, Element* dx, double* to_affine) {
    const Sizes s = sizes;
    const size_t row_size = s.columns * s.pixel(), next_strip = s.window() * row_size;
    const bool streams = s.images * s.rows * row_size * sizeof(Element) > LARGE && s.channels() % LANES == 0
                         && size_t(dx) % sizeof(Floats) == 0;
    struct Room {
        Statistics statistics;
        AffineGradient affine_gradient;
        WindowGradient window;
    };
    auto rooms = for_threads(s.threads, [&] {
        return Room{Statistics(s.window() * s.columns), AffineGradient(s), WindowGradient(s, affine)};
    });
#pragma omp parallel num_threads(s.threads)
    {
        const int thread = omp_get_thread_num();
        Statistics statistics = std::move(rooms[thread]->statistics);
        AffineGradient affine_gradient = std::move(rooms[thread]->affine_gradient);
        WindowGradient window = std::move(rooms[thread]->window);
#pragma omp for collapse(2) schedule(static)
        for (int image = 0; image < s.images; image++)
            for (int pooled_row = 0; pooled_row < s.pooled_rows; pooled_row++) {
                Span rows = window_span(s, pooled_row, s.rows), columns = {};
                size_t start = (size_t(image) * s.rows + rows.begin) * row_size;
                statistics.measure(x + start, (rows.end - rows.begin) * s.columns, s);
                for (int pooled_column = 0; pooled_column < s.pooled_columns; pooled_column++) {
                    columns = window_span(s, pooled_column, s.columns);
                    size_t out =
                        ((size_t(image) * s.pooled_rows + pooled_row) * s.pooled_columns + pooled_column)
                        * s.channels();
                    window.select(x + start, rows, columns, statistics, dy + out, positions + out,
                                  affine_gradient, next_strip);
                    if (NORMED) window.spread_over_norm();
                    if (streams)
                        window.write<true>(x + start, rows, columns, dx + start);
                    else
                        window.write<false>(x + start, rows, columns, dx + start);
                }
                affine_gradient.flush();
                // Pixels that a last, incomplete window would have had reach no output.
                for (int row = rows.begin; row < rows.end; row++)
                    std::fill(dx + start + (row - rows.begin) * row_size + columns.end * s.pixel(),
                              dx + start + (row - rows.begin + 1) * row_size, Element{});
                if (pooled_row == s.pooled_rows - 1)
                    std::fill(dx + start + (rows.end - rows.begin) * row_size,
                              dx + (size_t(image) + 1) * s.rows * row_size, Element{});
            }
        end_stream();
        affine_gradient.write(to_affine + size_t(thread) * 2 * s.pixel(), s);
    }
}
