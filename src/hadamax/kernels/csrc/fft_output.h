// Outputs of an FFT convolution, from the transforms of data and kernel.
#pragma once
#include "fft_convolution.h"

class Outputs {
    const Tiles s;
    Lines<float> half;  // transformed back along columns: [tile][row][column]

  public:
    explicit Outputs(const Tiles& sizes) : s(sizes), half(size_t(TOGETHER) * CELLS * COMPLEX) {}

    // Writes a group of tiles to y [image, row, column, channel].
    void write(const TileTransforms& data, const KernelTransforms& kernels, const float* bias, Span group, Element* y) {
        for (int block = 0; block < s.blocks(); block++) {
            for (int column = 0; column < COLUMNS; column++)
                for_count(group.size(), [&](auto count) { add<count>(data, kernels.of(block, column), column); });
            for (int tile = group.begin; tile < group.end; tile++)
                finish(tile, tile - group.begin, load(bias + block * LANES), y + block * LANES);
        }
    }

  private:
    template <int COUNT>
    __attribute__((noinline)) void add(const TileTransforms& data, const float* kernel, int column) {
        Floats re[COUNT][SIDE], im[COUNT][SIDE];  // separate arrays: compilers copy pairs inefficiently
        for (int row = 0; row < SIDE; row++) {
            Complex sums[COUNT] = {};
            const float* cell = data.of(row, column);
            for (int plane = 0; plane < s.planes(); plane++, kernel += COMPLEX) {
                const Complex weight = load_complex(kernel);
                const float* z = cell + data.offset(plane);
#pragma GCC unroll 4
                for (int tile = 0; tile < COUNT; tile++) add_product(sums[tile], z + tile, weight);
            }
#pragma GCC unroll 4
            for (int tile = 0; tile < COUNT; tile++) re[tile][row] = sums[tile].re, im[tile][row] = sums[tile].im;
        }
        for (int tile = 0; tile < COUNT; tile++) {
            float* to = &half[(tile * CELLS + column) * COMPLEX];
            transform([&](int row) { return Complex{re[tile][row], im[tile][row]}; },
                      [&](int row, Complex x) {
                          if (row < s.tile_rows()) store_complex(to + row * COLUMNS * COMPLEX, x);
                      });
        }
    }

    // Two rows at a time; an odd last row is computed twice.
    __attribute__((noinline)) void finish(int tile, int number, Floats bias, Element* y) const {
        const Span rows = s.rows_of(tile), columns = s.columns_of(tile);
        y += s.image_of(tile) * s.outputs();
        for (int row = 0; row < rows.size(); row += 2) {
            const int next = std::min(row + 1, rows.size() - 1);
            const float *one = &half[(number * SIDE + row) * COLUMNS * COMPLEX],
                        *other = &half[(number * SIDE + next) * COLUMNS * COMPLEX];
            auto output = [&](int of) {
                return y + (size_t(rows.begin + of) * s.columns + columns.begin) * s.channels;
            };
            Element *to = output(row), *to_next = output(next);
            transform_back([&](int column) { return load_complex(one + column * COMPLEX); },
                           [&](int column) { return load_complex(other + column * COMPLEX); },
                           [&](int column, Floats x, Floats x_next) {
                               if (column >= columns.size()) return;
                               store(to + size_t(column) * s.channels, x + bias, Whole{});
                               store(to_next + size_t(column) * s.channels, x_next + bias, Whole{});
                           });
        }
    }
};
