// Gradients of weights and bias of an FFT convolution.
#pragma once
#include "fft_convolution.h"

// Gradients summed over images by one thread.
class Gradients {
    const Tiles s;
    Lines<float> half;              // the output's gradient, transformed along rows: [tile][row][column]
    Lines<float> sums;              // laid out as the kernel's transform
    std::vector<double> bias_sums;  // [channel]

  public:
    explicit Gradients(const Tiles& sizes)
        : s(sizes),
          half(size_t(TOGETHER) * CELLS * COMPLEX),
          sums(s.blocks() * s.of_block(), 0.0f),
          bias_sums(s.channels) {}

    // Adds a group of tiles; dy is [image, row, column, channel].
    void add(const TileTransforms& data, Span group, const Element* dy) {
        for (int block = 0; block < s.blocks(); block++) {
            for (int tile = group.begin; tile < group.end; tile++)
                begin(tile, tile - group.begin, dy + block * LANES);
            for (int column = 0; column < COLUMNS; column++)
                for_count(group.size(), [&](auto count) { add<count>(data, block, column); });
        }
    }

    void add(const Gradients& other) {
        for (size_t i = 0; i < sums.size(); i++) sums[i] += other.sums[i];
        for (int channel = 0; channel < s.channels; channel++) bias_sums[channel] += other.bias_sums[channel];
    }

    // Writes the gradients of the weights [channel, input, kernel row, kernel column] and the bias [channel].
    void write(float* dweight, float* dbias) const {
        for (int channel = 0; channel < s.channels; channel++) dbias[channel] = bias_sums[channel];
        auto workspaces = for_threads(s.threads, [] { return Lines<float>(CELLS * COMPLEX); });
#pragma omp parallel for num_threads(s.threads) schedule(static)
        for (int block = 0; block < s.blocks(); block++)
            for (int plane = 0; plane < s.planes(); plane++) {
                float* workspace = workspaces[omp_get_thread_num()]->data();  // [row][column]
                for (int column = 0; column < COLUMNS; column++)
                    transform([&](int row) { return load_complex(&sums[s.at(block, column, row, plane)]); },
                              [&](int row, Complex x) { store_complex(workspace + (row * COLUMNS + column) * COMPLEX, x); });
                for (int row = 0; row < s.tap_rows(); row += 2) {
                    const float *one = workspace + row * COLUMNS * COMPLEX, *other = one + COLUMNS * COMPLEX;
                    transform_back([&](int column) { return load_complex(one + column * COMPLEX); },
                                   [&](int column) { return load_complex(other + column * COMPLEX); },
                                   [&](int column, Floats x, Floats x_next) {
                                       put(dweight, block, s.index(plane, row, column), x);
                                       put(dweight, block, s.index(plane, row + 1, column), x_next);
                                   });
                }
            }
    }

  private:
    void put(float* dweight, int block, int index, Floats x) const {
        if (index < 0) return;
        dweight += block * LANES * s.of_channel() + index;
        for (int lane = 0; lane < LANES; lane++) dweight[lane * s.of_channel()] = s.scale * UNIT * x[lane];
    }

    __attribute__((noinline)) void begin(int tile, int number, const Element* dy) {
        const Span rows = s.rows_of(tile), columns = s.columns_of(tile);
        dy += s.image_of(tile) * s.outputs();
        for (int row = 0; row < s.tile_rows(); row += 2) {
            auto number_at = [&](int of, int column) {
                const size_t at = size_t(rows.begin + of) * s.columns + columns.begin + column;
                return of < rows.size() ? load(dy + at * s.channels, Whole{}) : Floats{};
            };
            float *to = &half[(number * SIDE + row) * COLUMNS * COMPLEX], *to_next = to + COLUMNS * COMPLEX;
            transform_rows(
                [&](int column) {
                    if (column >= columns.size()) return Complex{};
                    return Complex{number_at(row, column), number_at(row + 1, column)};
                },
                [&](int column, Complex one, Complex other) {
                    store_complex(to + column * COMPLEX, one);
                    store_complex(to_next + column * COMPLEX, other);
                });
        }
    }

    template <int COUNT>
    __attribute__((noinline)) void add(const TileTransforms& data, int block, int column) {
        Floats re[SIDE][COUNT], im[SIDE][COUNT];  // separate arrays: compilers copy pairs inefficiently
        for (int tile = 0; tile < COUNT; tile++) {
            const float* from = &half[(tile * CELLS + column) * COMPLEX];
            transform([&](int row) { return row < s.tile_rows() ? load_complex(from + row * COLUMNS * COMPLEX) : Complex{}; },
                      [&](int row, Complex x) { re[row][tile] = x.re, im[row][tile] = x.im; });
        }
        float* to = &sums[s.at(block, column, 0, 0)];
        for (int row = 0; row < SIDE; row++) {
            const float* cell = data.of(row, column);
            for (int plane = 0; plane < s.planes(); plane++, to += COMPLEX) {
                Complex sum = load_complex(to);
                const float* z = cell + data.offset(plane);
#pragma GCC unroll 4
                for (int tile = 0; tile < COUNT; tile++) add_product(sum, z + tile, {re[row][tile], im[row][tile]});
                store_complex(to, sum);
            }
        }
        if (column == 0)
            for (int tile = 0; tile < COUNT; tile++)  // a transform's first cell is the sum of its input, here doubled
                for (int lane = 0; lane < LANES; lane++) bias_sums[block * LANES + lane] += 0.5 * re[0][tile][lane];
    }
};
