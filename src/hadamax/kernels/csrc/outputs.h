// The outputs of a convolution by spectra, from transforms of data and kernel.
#pragma once
#include <type_traits>

#include "spectra.h"

class Outputs {
    const Tiles s;
    Lines<float> half;  // transformed back along columns: [tile][row][column]

  public:
    explicit Outputs(const Tiles& sizes) : s(sizes), half(size_t(TOGETHER) * CELLS * COMPLEX) {}

    // A group of tiles, to y [image, row, column, channel].
    void write(const Spectra& data, const Kernels& kernels, const float* bias, Span group, Element* y) {
        for (int block = 0; block < s.blocks(); block++) {
            for (int column = 0; column < SIDE; column++)
                for_count(group.size(), [&](auto count) { add<count>(data, kernels.of(block, column), column); });
            for (int tile = group.begin; tile < group.end; tile++)
                finish(tile, tile - group.begin, bias + block * COMPLEX, y + block * COMPLEX);
        }
    }

  private:
    template <int COUNT>
    __attribute__((noinline)) void add(const Spectra& data, const float* kernel, int column) {
        Floats re[COUNT][SIDE], im[COUNT][SIDE];  // apart: the compiler copies pairs of them badly
        for (int row = 0; row < SIDE; row++) {
            Complex sum[COUNT] = {};
            const float *forth = data.of(row, column), *back = data.of((SIDE - row) % SIDE, (SIDE - column) % SIDE);
            for (int pair = 0; pair < s.pairs(); pair++, kernel += 2 * COMPLEX) {
                const Complex u = load_complex(kernel), v = load_complex(kernel + COMPLEX);
                const float *z = forth + data.offset(pair), *minus = back + data.offset(pair);
#pragma GCC unroll 4
                for (int tile = 0; tile < COUNT; tile++) {
                    add_product(sum[tile], minus + tile, u);
                    add_conjugate_product(sum[tile], z + tile, v);
                }
            }
#pragma GCC unroll 4
            for (int tile = 0; tile < COUNT; tile++) re[tile][row] = sum[tile].re, im[tile][row] = sum[tile].im;
        }
        for (int tile = 0; tile < COUNT; tile++) {
            float* to = &half[(tile * CELLS + column) * COMPLEX];
            transform([&](int row) { return Complex{re[tile][row], im[tile][row]}; },
                      [&](int row, Complex x) {
                          if (row < s.tile_rows()) store_complex(to + row * SIDE * COMPLEX, x);
                      });
        }
    }

    __attribute__((noinline)) void finish(int tile, int number, const float* bias, Element* y) const {
        const Span rows = s.rows_of(tile), columns = s.columns_of(tile);
        const Complex more = load_complex(bias);
        for (int row = rows.begin; row < rows.end; row++) {
            const float* from = &half[(number * SIDE + row - rows.begin) * SIDE * COMPLEX];
            Element* to = y + s.image_of(tile) * s.outputs() + (size_t(row) * s.columns + columns.begin) * s.channels;
            transform([&](int column) { return load_complex(from + column * COMPLEX); },
                      [&](int column, Complex x) {
                          if (column >= columns.size()) return;
                          store(to + size_t(column) * s.channels, x.re + more.re, Whole{});
                          store(to + size_t(column) * s.channels + LANES, x.im + more.im, Whole{});
                      });
        }
    }
};
