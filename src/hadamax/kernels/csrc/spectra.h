// Convolution by spectra: where one tile of the input's Fourier transform meets that of the kernel, a product is all that
// is left of every window in the tile.
//
// A tile is 24 x 24 of the input and gives as many outputs as a kernel has places in it (17 x 17 of 8 x 8). Numbers are
// real, so two planes of the input share a transform, and so do two channels of the output: z = x_a + i x_b and
// w = w_c + i w_d. With T for sums with exp(+2 pi i ...), of a correlation y[p] = sum over k of x[p + k] w[k]:
//     y = T( T(z)(-f) T(u) + conj(T(z)(f)) T(v) ) / 24^2,  u = (w of a - i w of b) / 2,  v = (w of a + i w of b) / 2,
// whose real part belongs to channel c and whose imaginary part to d. The gradients of u and v are such products too, of
// the same transforms with that of the output's gradient in the place of y.
//
// All is computed in float32, whatever the outputs are stored as. A stride is taken first, as so many planes more.
#pragma once
#include "convolution.h"
#include "fourier.h"

constexpr int CELLS = SIDE * SIDE;
constexpr int TOGETHER = 4;  // tiles, for which the kernel's transform is read once
constexpr int GROUPS = LANES / TOGETHER;  // of tiles that share a vector, each of another pair of planes

#if defined(__x86_64__) && !defined(__AVX2__)
constexpr bool PAYS = false;  // registers are too few and too small
#else
constexpr bool PAYS = true;
#endif

struct Span {
    int begin, end;
    int size() const { return end - begin; }
};

struct Tiles : Convolution {
    explicit Tiles(const Convolution& convolution) : Convolution(convolution) {}

    int planes() const { return inputs * stride * stride; }
    int pairs() const { return (planes() + 1) / 2; }
    int vectors() const { return (pairs() + GROUPS - 1) / GROUPS; }
    int blocks() const { return channels / COMPLEX; }
    int tap_rows() const { return (kernel_rows + stride - 1) / stride; }
    int tap_columns() const { return (kernel_columns + stride - 1) / stride; }
    int tile_rows() const { return SIDE - tap_rows() + 1; }  // of outputs
    int tile_columns() const { return SIDE - tap_columns() + 1; }
    int across() const { return (columns + tile_columns() - 1) / tile_columns(); }
    int tiles() const { return (rows + tile_rows() - 1) / tile_rows() * across(); }
    // Tiles that are computed together, of so many images: groups of almost one size. They count on from image to image.
    int groups(int of_images) const { return (of_images * tiles() + TOGETHER - 1) / TOGETHER; }
    Span group(int number, int of_images) const {
        const int64_t all = of_images * tiles(), each = groups(of_images);
        return {int(number * all / each), int((number + 1) * all / each)};
    }
    int images_together() const { return std::max(1, TOGETHER / tiles()); }
    int steps() const { return (images + images_together() - 1) / images_together(); }
    size_t image_of(int tile) const { return tile / tiles(); }
    Span rows_of(int tile) const {
        const int first = tile % tiles() / across() * tile_rows();
        return {first, std::min(first + tile_rows(), rows)};
    }
    Span columns_of(int tile) const {
        const int first = tile % across() * tile_columns();
        return {first, std::min(first + tile_columns(), columns)};
    }

    // Floats of the kernel's transform: [column][row][pair of planes][u or v], and those that belong to a column.
    size_t of_column() const { return size_t(SIDE) * pairs() * 2 * COMPLEX; }
    size_t of_block() const { return SIDE * of_column(); }

    // Calls body(pair, u or v, plane of a, plane of b or -1) for each.
    template <class Body>
    void for_kernels(Body body) const {
        for (int pair = 0; pair < pairs(); pair++)
            for (int kind : {0, 1}) body(pair, kind, 2 * pair, 2 * pair + 1 < planes() ? 2 * pair + 1 : -1);
    }
    // Where a weight of a channel is in [input, kernel row, kernel column]; -1 beyond the kernel.
    int index(int plane, int row, int column) const {
        row = row * stride + plane / stride % stride;
        column = column * stride + plane % stride;
        if (plane < 0 || row >= kernel_rows || column >= kernel_columns) return -1;
        return (plane / (stride * stride) * kernel_rows + row) * kernel_columns + column;
    }
};

// The transform of a square whose other cells are zeros, from x(row, column), to put(row, column, value).
template <class From, class Put>
static void transform_square(int rows, int columns, float* room, From x, Put put) {
    for (int row = 0; row < rows; row++)
        transform([&](int column) { return column < columns ? x(row, column) : Complex{}; },
                  [&](int column, Complex value) { store_complex(room + (column * SIDE + row) * COMPLEX, value); });
    for (int column = 0; column < SIDE; column++)
        transform([&](int row) { return row < rows ? load_complex(room + (column * SIDE + row) * COMPLEX) : Complex{}; },
                  [&](int row, Complex value) { put(row, column, value); });
}

// The kernel's transform, of every block of channels.
class Kernels {
    const Tiles s;
    Lines<float> spectra;

  public:
    Kernels(const Tiles& sizes, const float* weight) : s(sizes), spectra(s.blocks() * s.of_block()) {
        auto rooms = for_threads(s.threads, [] { return Lines<float>(CELLS * COMPLEX); });
#pragma omp parallel for num_threads(s.threads) schedule(static)
        for (int block = 0; block < s.blocks(); block++)
            s.for_kernels([&](int pair, int kind, int a, int b) {
                auto from = [&](int row, int column) {
                    const float sign = kind ? -1.0f : 1.0f;
                    const Complex of_a = taps(weight, block, s.index(a, row, column));
                    const Complex of_b = taps(weight, block, s.index(b, row, column));
                    return splat(0.5f * s.scale / CELLS) * Complex{of_a.re + sign * of_b.im, of_a.im - sign * of_b.re};
                };
                transform_square(s.tap_rows(), s.tap_columns(), rooms[omp_get_thread_num()]->data(), from,
                                 [&](int row, int column, Complex value) {
                                     float* to = &spectra[block * s.of_block() + column * s.of_column()];
                                     store_complex(to + ((row * s.pairs() + pair) * 2 + kind) * COMPLEX, value);
                                 });
            });
    }
    const float* of(int block, int column) const {
        return &spectra[block * s.of_block() + column * s.of_column()];
    }

  private:
    // A weight of two vectors of channels.
    Complex taps(const float* weight, int block, int index) const {
        Complex found = {};
        if (index < 0) return found;
        weight += block * COMPLEX * s.of_channel() + index;
        for (int lane = 0; lane < LANES; lane++) {
            found.re[lane] = weight[lane * s.of_channel()];
            found.im[lane] = weight[(LANES + lane) * s.of_channel()];
        }
        return found;
    }
};

// The transforms of a group of tiles: [vector][column][row][re, im][pair of the vector][tile].
class Spectra {
    Lines<float> room, line, spectra;

  protected:
    const Tiles s;

    explicit Spectra(const Tiles& sizes)
        : room(CELLS * COMPLEX), line(SIDE * COMPLEX), spectra(sizes.vectors() * CELLS * COMPLEX), s(sizes) {}

    // From fill(row of a tile, first pair of planes, line), which gets a line of zeros for the pairs of a vector, as above.
    template <class Fill>
    void transform_lines(Fill fill) {
        for (int vector = 0; vector < s.vectors(); vector++) {
            float* to = &spectra[vector * CELLS * COMPLEX];
            for (int row = 0; row < SIDE; row++) {
                std::fill(line.begin(), line.end(), 0.0f);
                fill(row, vector * GROUPS, line.data());
                transform([&](int column) { return load_complex(&line[column * COMPLEX]); },
                          [&](int column, Complex x) { store_complex(&room[(column * SIDE + row) * COMPLEX], x); });
            }
            for (int column = 0; column < SIDE; column++, to += SIDE * COMPLEX)
                transform([&](int row) { return load_complex(&room[(column * SIDE + row) * COMPLEX]); },
                          [&](int row, Complex x) { store_complex(to + row * COMPLEX, x); });
        }
    }
    // Where in a line a plane's first number of a tile is.
    static size_t place(int plane, int first_pair, int tile) {
        return plane % 2 * LANES + (plane / 2 - first_pair) * TOGETHER + tile;
    }

  public:
    // Of the first pair and tile: other tiles lie beside it, imaginary parts LANES further, other pairs at an offset.
    const float* of(int row, int column) const { return &spectra[(column * SIDE + row) * COMPLEX]; }
    static size_t offset(int pair) { return pair / GROUPS * size_t(CELLS) * COMPLEX + pair % GROUPS * TOGETHER; }
};

// sum + z * x, and sum + conj(z) * x, of the same number z for every lane.
INLINE void add_product(Complex& sum, const float* z, Complex x) {
    const Floats re = splat(z[0]), im = splat(z[LANES]);
    sum.re += re * x.re, sum.im += re * x.im, sum.re -= im * x.im, sum.im += im * x.re;
}
INLINE void add_conjugate_product(Complex& sum, const float* z, Complex x) {
    const Floats re = splat(z[0]), im = splat(z[LANES]);
    sum.re += re * x.re, sum.im += re * x.im, sum.re += im * x.im, sum.im -= im * x.re;
}

// Calls body(integral constant of the number) for a number of tiles.
template <class Body>
INLINE void for_count(int count, Body body) {
    switch (count) {
    case 1: return body(std::integral_constant<int, 1>{});
    case 2: return body(std::integral_constant<int, 2>{});
    case 3: return body(std::integral_constant<int, 3>{});
    default: return body(std::integral_constant<int, TOGETHER>{});
    }
}
