// Overlapping pooling windows, and the backward pass without a pool: a pixel may belong to several outputs, so its value
// and gradient are computed for every pixel, one image at a time.
#pragma once
#include "call.h"

// As `forward_windows`: computes each product once, into a map of the thread's own, and pools that map.
inline void forward_overlaps(const Sizes& sizes, const Element* x, const Affine& affine, Element* y,
                             uint8_t* positions) {
    const Sizes s = sizes;
    const int pixels = s.rows * s.columns, stride = s.padded_channels();
    struct Workspace {
        Statistics statistics;
        std::vector<float> map;
    };
    auto workspaces = for_threads(s.threads, [&] {
        return Workspace{Statistics(pixels), std::vector<float>(size_t(pixels) * stride)};
    });
#pragma omp parallel num_threads(s.threads)
    {
        const int thread = omp_get_thread_num();
        Statistics statistics = std::move(workspaces[thread]->statistics);
        std::vector<float> map = std::move(workspaces[thread]->map);
#pragma omp for schedule(static)
        for (int image = 0; image < s.images; image++) {
            const Element* from = x + size_t(image) * pixels * s.pixel();
            statistics.measure(from, pixels, s);
            for_channels(s.channels(), [&](int c, auto count) {
                Floats scale[BRANCHES], bias[BRANCHES], input[BRANCHES];
                for (int b = 0; b < BRANCHES; b++) scale[b] = affine.scale(b, c), bias[b] = affine.bias(b, c);
                for (int pixel = 0; pixel < pixels; pixel++) {
                    for (int b = 0; b < BRANCHES; b++) {
                        Floats raw = load(from + pixel * s.pixel() + b * s.channels() + c, count);
                        input[b] = statistics.normalised(b, pixel, raw) * scale[b] + bias[b];
                    }
                    store(&map[size_t(pixel) * stride + c], Combination::value(input));
                }
            });
            for (int pooled_row = 0; pooled_row < s.pooled_rows; pooled_row++)
                for (int pooled_column = 0; pooled_column < s.pooled_columns; pooled_column++) {
                    Span rows = window_span(s, pooled_row, s.rows),
                         columns = window_span(s, pooled_column, s.columns);
                    size_t out =
                        ((size_t(image) * s.pooled_rows + pooled_row) * s.pooled_columns + pooled_column)
                        * s.channels();
                    for_channels(s.channels(), [&](int c, auto count) {
                        Floats best = splat(-INFINITY);
                        Ints where =
                            Ints{}
                            + ((rows.begin - rows.origin) * s.window() + columns.begin - columns.origin);
                        for (int row = rows.begin; row < rows.end; row++)
                            for (int column = columns.begin; column < columns.end; column++) {
                                Floats value = load(&map[size_t(row * s.columns + column) * stride + c]);
                                Ints better = (value > best) | (value != value);
                                best = better ? value : best;
                                where =
                                    better
                                        ? Ints{}
                                              + ((row - rows.origin) * s.window() + column - columns.origin)
                                        : where;
                            }
                        store(y + out + c, best, count);
                        store_bytes(positions + out + c, where, count);
                    });
                }
        }
    }
}

// For each pixel along one axis, the range of outputs whose windows contain it.
inline std::vector<Span> outputs_of(const Sizes& s, int pixels, int outputs) {
    std::vector<Span> spans(pixels);
    for (int pixel = 0; pixel < pixels; pixel++) {
        int last = (pixel + s.pad) / s.stride(), before = pixel + s.pad - s.window();
        spans[pixel] = {pixel, before < 0 ? 0 : before / s.stride() + 1, std::min(last + 1, outputs)};
    }
    return spans;
}

template <class Count>
INLINE Floats pooled_gradient(const Sizes& s, Span rows, Span columns, const Element* dy,
                              const uint8_t* positions, int c, Count count) {
    Floats gradient = {};
    for (int row = rows.begin; row < rows.end; row++)
        for (int column = columns.begin; column < columns.end; column++) {
            size_t out = (size_t(row) * s.pooled_columns + column) * s.channels() + c;
            int cell = (rows.origin + s.pad - row * s.stride()) * s.window() + columns.origin + s.pad
                       - column * s.stride();
            gradient += load_bytes(positions + out, count) == cell ? load(dy + out, count) : Floats{};
        }
    return gradient;
}

// As `backward_windows`, LANES pixels at a time, so that one tree of additions reduces all of them.
inline void backward_pixels(const Sizes& sizes, const Element* x, const Affine& affine, const Element* dy,
                            const uint8_t* positions, Element* dx, double* to_affine) {
    const Sizes s = sizes;
    const int pixels = s.rows * s.columns, stride = s.padded_channels();
    const size_t outputs = size_t(s.pooled_rows) * s.pooled_columns * s.channels();
    const std::vector<Span> row_outputs = outputs_of(s, s.rows, s.pooled_rows);
    const std::vector<Span> column_outputs = outputs_of(s, s.columns, s.pooled_columns);
    struct Workspace {
        Statistics statistics;
        AffineGradient affine_gradient;
        std::vector<float> gradients;  // [pixel, branch, padded channel]
    };
    auto workspaces = for_threads(s.threads, [&] {
        return Workspace{Statistics(pixels), AffineGradient(s), std::vector<float>(size_t(LANES) * BRANCHES * stride)};
    });
#pragma omp parallel num_threads(s.threads)
    {
        const int thread = omp_get_thread_num();
        Statistics statistics = std::move(workspaces[thread]->statistics);
        AffineGradient affine_gradient = std::move(workspaces[thread]->affine_gradient);
        std::vector<float> gradients = std::move(workspaces[thread]->gradients);
#pragma omp for schedule(static)
        for (int image = 0; image < s.images; image++) {
            const Element* from = x + size_t(image) * pixels * s.pixel();
            Element* to = dx + size_t(image) * pixels * s.pixel();
            statistics.measure(from, pixels, s);
            for (int first = 0; first < pixels; first += LANES) {
                const int group = std::min(LANES, pixels - first);
                Floats sums[BRANCHES][LANES] = {}, products[BRANCHES][LANES] = {};
                for_channels(s.channels(), [&](int c, auto count) {
                    Floats scale[BRANCHES], bias[BRANCHES], to_scale[BRANCHES] = {}, to_bias[BRANCHES] = {};
                    for (int b = 0; b < BRANCHES; b++)
                        scale[b] = affine.scale(b, c), bias[b] = affine.bias(b, c);
                    int row = first / s.columns, column = first % s.columns;
                    for (int i = 0; i < group; i++) {
                        const int pixel = first + i;
                        Floats normalised[BRANCHES], input[BRANCHES], to_branch[BRANCHES];
                        for (int b = 0; b < BRANCHES; b++) {
                            Floats raw = load(from + pixel * s.pixel() + b * s.channels() + c, count);
                            normalised[b] = statistics.normalised(b, pixel, raw);
                            input[b] = normalised[b] * scale[b] + bias[b];
                        }
                        Floats gradient =
                            s.window() == 1 && s.stride() == 1
                                ? load(dy + image * outputs + size_t(pixel) * s.channels() + c, count)
                                : pooled_gradient(s, row_outputs[row], column_outputs[column],
                                                  dy + image * outputs, positions + image * outputs, c, count);
                        if (++column == s.columns) column = 0, row++;
                        Combination::gradient(input, gradient, to_branch);
                        for (int b = 0; b < BRANCHES; b++) {
                            to_scale[b] += to_branch[b] * normalised[b];
                            to_bias[b] += to_branch[b];
                            Floats to_normalised = to_branch[b] * scale[b];
                            sums[b][i] += to_normalised;
                            products[b][i] += to_normalised * normalised[b];
                            store(&gradients[(size_t(i) * BRANCHES + b) * stride + c], to_normalised);
                        }
                    }
                    for (int b = 0; b < BRANCHES; b++) affine_gradient.add(b, c, to_scale[b], to_bias[b]);
                });
                for (int b = 0; b < BRANCHES; b++) {
                    float slopes[LANES], offsets[LANES];
                    norm_backward_terms(load(&statistics.scales[b][first]), load(&statistics.shifts[b][first]),
                           row_sums(sums[b]), row_sums(products[b]), 1.0f / s.channels(), slopes, offsets);
                    for (int i = 0; i < group; i++) {
                        size_t at = (first + i) * s.pixel() + b * s.channels();
                        for_channels(s.channels(), [&](int c, auto count) {
                            Floats result = load(&gradients[(size_t(i) * BRANCHES + b) * stride + c])
                                            * statistics.scales[b][first + i];
                            if (NORMED)
                                result += norm_correction(load(from + at + c, count),
                                                          statistics.shifts[b][first + i], slopes[i], offsets[i]);
                            store(to + at + c, result, count);
                        });
                    }
                }
            }
            affine_gradient.flush();
        }
        affine_gradient.write(to_affine + size_t(thread) * 2 * s.pixel(), s);
    }
}
