// The gradients of weights and bias of a convolution by spectra.
#pragma once
#include <type_traits>

#include "spectra.h"

// Summed over images by one thread.
class Gradients {
    const Tiles s;
    Lines<float> half;              // the output's gradient, transformed along rows: [tile][row][column]
    Lines<float> sums;              // [block] as the kernel's transform
    std::vector<double> bias_sums;  // [channel]

  public:
    explicit Gradients(const Tiles& sizes)
        : s(sizes), half(size_t(TOGETHER) * CELLS * COMPLEX), sums(s.blocks() * s.of_block()), bias_sums(s.channels) {}

    // A group of tiles: dy [image, row, column, channel].
    void add(const Spectra& data, Span group, const Element* dy) {
        for (int block = 0; block < s.blocks(); block++) {
            for (int tile = group.begin; tile < group.end; tile++)
                begin(tile, tile - group.begin, dy + block * COMPLEX);
            for (int column = 0; column < SIDE; column++)
                for_count(group.size(), [&](auto count) { add<count>(data, block, column); });
        }
    }

    void add(const Gradients& other) {
        for (size_t i = 0; i < sums.size(); i++) sums[i] += other.sums[i];
        for (int channel = 0; channel < s.channels; channel++) bias_sums[channel] += other.bias_sums[channel];
    }

    // Of the plain weights [channel, input, kernel row, kernel column] and the bias [channel].
    void write(float* dweight, float* dbias) const {
        for (int channel = 0; channel < s.channels; channel++) dbias[channel] = bias_sums[channel];
        std::fill(dweight, dweight + s.channels * s.of_channel(), 0.0f);
        auto rooms = for_threads(s.threads, [] { return Lines<float>(CELLS * COMPLEX); });
#pragma omp parallel for num_threads(s.threads) schedule(static)
        for (int block = 0; block < s.blocks(); block++)
            s.for_kernels([&](int pair, int kind, int a, int b) {
                auto from = [&](int row, int column) {
                    const float* of = &sums[block * s.of_block() + column * s.of_column()];
                    return load_complex(of + ((row * s.pairs() + pair) * 2 + kind) * COMPLEX);
                };
                const float scale = 0.5f * s.scale / CELLS, sign = kind ? -1.0f : 1.0f;
                float* room = rooms[omp_get_thread_num()]->data();
                transform_square(SIDE, SIDE, room, from, [&](int row, int column, Complex x) {
                    x = splat(scale) * x;
                    put(dweight, block, s.index(a, row, column), x);
                    put(dweight, block, s.index(b, row, column), {sign * x.im, -sign * x.re});
                });
            });
    }

  private:
    void put(float* dweight, int block, int index, Complex x) const {
        if (index < 0) return;
        dweight += block * COMPLEX * s.of_channel() + index;
        for (int lane = 0; lane < LANES; lane++) {
            dweight[lane * s.of_channel()] += x.re[lane];
            dweight[(LANES + lane) * s.of_channel()] += x.im[lane];
        }
    }

    __attribute__((noinline)) void begin(int tile, int number, const Element* dy) {
        const Span rows = s.rows_of(tile), columns = s.columns_of(tile);
        dy += s.image_of(tile) * s.outputs();
        for (int row = 0; row < rows.size(); row++) {
            const Element* from = dy + (size_t(rows.begin + row) * s.columns + columns.begin) * s.channels;
            float* to = &half[(number * SIDE + row) * SIDE * COMPLEX];
            transform(
                [&](int column) {
                    if (column >= columns.size()) return Complex{};
                    const Element* cell = from + size_t(column) * s.channels;
                    return Complex{load(cell, Whole{}), load(cell + LANES, Whole{})};
                },
                [&](int column, Complex x) { store_complex(to + column * COMPLEX, x); });
        }
        for (int row = rows.size(); row < s.tile_rows(); row++)
            std::fill_n(&half[(number * SIDE + row) * SIDE * COMPLEX], SIDE * COMPLEX, 0.0f);
    }

    template <int COUNT>
    __attribute__((noinline)) void add(const Spectra& data, int block, int column) {
        Floats re[SIDE][COUNT], im[SIDE][COUNT];  // apart: the compiler copies pairs of them badly
        for (int tile = 0; tile < COUNT; tile++) {
            const float* from = &half[(tile * CELLS + column) * COMPLEX];
            transform([&](int row) { return row < s.tile_rows() ? load_complex(from + row * SIDE * COMPLEX) : Complex{}; },
                      [&](int row, Complex x) { re[row][tile] = x.re, im[row][tile] = x.im; });
        }
        float* to = &sums[block * s.of_block() + column * s.of_column()];
        for (int row = 0; row < SIDE; row++) {
            const float *forth = data.of(row, column), *back = data.of((SIDE - row) % SIDE, (SIDE - column) % SIDE);
            for (int pair = 0; pair < s.pairs(); pair++, to += 2 * COMPLEX) {
                Complex u = load_complex(to), v = load_complex(to + COMPLEX);
                const float *z = forth + data.offset(pair), *minus = back + data.offset(pair);
#pragma GCC unroll 4
                for (int tile = 0; tile < COUNT; tile++) {
                    const Complex gradient = {re[row][tile], im[row][tile]};
                    add_product(u, minus + tile, gradient);
                    add_conjugate_product(v, z + tile, gradient);
                }
                store_complex(to, u);
                store_complex(to + COMPLEX, v);
            }
        }
        if (column == 0)
            for (int tile = 0; tile < COUNT; tile++)  // the first cell of a transform is the sum of what was transformed
                for (int lane = 0; lane < LANES; lane++) {
                    bias_sums[block * COMPLEX + lane] += re[0][tile][lane];
                    bias_sums[block * COMPLEX + LANES + lane] += im[0][tile][lane];
                }
    }
};
