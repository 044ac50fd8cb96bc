// Backward pass of pooling windows that do not overlap.
#pragma once
#include "pixels.h"

// Backward pass of one window. The gradient reaches one pixel per channel, so activations and slopes are computed once per
// output instead of once per pixel.
struct WindowGradient {
    const Sizes& s;
    const Affine& affine;
    int cells, stride;
    std::vector<float> scales, shifts;   // [branch, cell]: norm of each pixel; LANES more are readable
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

    // Computes the gradients at the maxima, from the output's gradient `dy` and the positions saved by the forward pass.
    void select(const Element* strip, const Pixels& pixels, const Statistics& statistics, const Element* dy,
                const uint8_t* positions, AffineGradient& affine_gradient, size_t next_strip) {
        pixels.for_each<false>([&](int pixel, int cell) {
            for (int b = 0; b < BRANCHES; b++) {
                scales[b * stride + cell] = statistics.scales[b][pixel];
                shifts[b * stride + cell] = statistics.shifts[b][pixel];
            }
        });
        for_channels(s.channels(), [&](int c, auto count) {
            typedef typename Stored<Element>::Mask Mask;
            typename Stored<Element>::Raw raw[BRANCHES] = {};
            Ints winner = load_bytes(positions + c, count);
            Mask narrow = as_mask(winner, raw[0]);
            pixels.for_each<false>([&](int pixel, int cell) {
                const Element* from = strip + pixel * s.pixel() + c;
                const Mask here = narrow == (typename Stored<Element>::Lane)cell;
                for (int b = 0; b < BRANCHES; b++) {
                    raw[b] = here ? load_raw(from + b * s.channels(), count) : raw[b];
                    fetch_ahead(from + b * s.channels() + next_strip);
                }
            });
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

    // Computes the terms of the norm's backward pass for each pixel.
    void prepare_norm_backward() {
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
                norm_backward_terms(load(&scales[at]), load(&shifts[at]), row_sums(&sums[2 * b * stride + cell]),
                       row_sums(&sums[(2 * b + 1) * stride + cell]), 1.0f / s.channels(), &slopes[at],
                       &offsets[at]);
            }
    }

    template <bool streams>
    void write(const Element* strip, const Pixels& pixels, Element* dx) const {
        pixels.for_each<false>([&](int pixel, int cell) {
            for (int b = 0; b < BRANCHES; b++) {
                const Element* from = strip + pixel * s.pixel() + b * s.channels();
                Element* to = dx + pixel * s.pixel() + b * s.channels();
                const float* gradient = &gradients[b * s.padded_channels()];
                int at = b * stride + cell;
                for_channels(s.channels(), [&](int c, auto count) {
                    Ints here = (Ints)load((float*)&winners[c]) == cell;
                    Floats result = here ? load(gradient + c) * scales[at] : Floats{};
                    if (NORMED) result += norm_correction(load(from + c, count), shifts[at], slopes[at], offsets[at]);
                    if (streams)
                        stream(to + c, result);
                    else {
                        __builtin_prefetch(to + c + s.window() * s.pixel(), 1);  // of the next window
                        store(to + c, result, count);
                    }
                });
            }
        });
    }
};

// dx is laid out as x; to_affine: [thread, scales or biases, branch, channel], zeros on entry.
inline void backward_windows(const Sizes& sizes, const Element* x, const Affine& affine, const Element* dy,
                             const uint8_t* positions, Element* dx, double* to_affine) {
    const Sizes s = sizes;
    const size_t row_size = s.columns * s.pixel(), next_strip = s.window() * row_size;
    const bool streams = s.images * s.rows * row_size * sizeof(Element) > LARGE && s.channels() % LANES == 0
                         && size_t(dx) % sizeof(Floats) == 0;
    struct Workspace {
        Statistics statistics;
        AffineGradient affine_gradient;
        WindowGradient window;
    };
    auto workspaces = for_threads(s.threads, [&] {
        return Workspace{Statistics(s.window() * s.columns), AffineGradient(s), WindowGradient(s, affine)};
    });
#pragma omp parallel num_threads(s.threads)
    {
        const int thread = omp_get_thread_num();
        Statistics statistics = std::move(workspaces[thread]->statistics);
        AffineGradient affine_gradient = std::move(workspaces[thread]->affine_gradient);
        WindowGradient window = std::move(workspaces[thread]->window);
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
                    const Pixels pixels = {s, rows, columns};
                    window.select(x + start, pixels, statistics, dy + out, positions + out, affine_gradient, next_strip);
                    if (NORMED) window.prepare_norm_backward();
                    if (streams)
                        window.write<true>(x + start, pixels, dx + start);
                    else
                        window.write<false>(x + start, pixels, dx + start);
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
