// FFT convolution: the Fourier transforms of a tile of the input and of the kernel are multiplied element by element.
//
// A tile is 24 x 24 inputs and yields as many outputs as the kernel has positions in it (17 x 17 for 8 x 8). With T for
// transforms with exp(+2 pi i ...), the correlation y[p] = sum over k of x[p + k] w[k], summed over planes, and the kernel's
// gradient are
//     y = T( sum of conj(T(x)) T(w) ) / 24^2,    dw[k] = T( sum of conj(T(x)) T(dy) ) / 24^2.
// Inputs are real, so half of a transform is stored. Each plane and channel has its own transform, so large values or NaN
// in one do not affect the others.
//
// Everything is computed in float32, whatever the output type. A stride s turns each plane into s^2 planes first.
#pragma once
#include <type_traits>

#include "convolution.h"
#include "fourier.h"

constexpr int COLUMNS = HALF + 1, CELLS = SIDE * COLUMNS;  // of a transform
constexpr int TOGETHER = 4;              // tiles per group, for which the kernel's transform is read once
constexpr int GROUP = LANES / TOGETHER;  // planes that share a vector with the tiles of a group
constexpr float UNIT = 0.25f / (SIDE * SIDE);  // normalisation of two doubled row transforms and an inverse one

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
    int vectors() const { return (planes() + GROUP - 1) / GROUP; }
    int blocks() const { return channels / LANES; }
    int tap_rows() const { return (kernel_rows + stride - 1) / stride; }
    int tap_columns() const { return (kernel_columns + stride - 1) / stride; }
    int tile_rows() const { return SIDE - tap_rows() + 1; }  // of outputs
    int tile_columns() const { return SIDE - tap_columns() + 1; }
    int across() const { return (columns + tile_columns() - 1) / tile_columns(); }
    int tiles() const { return (rows + tile_rows() - 1) / tile_rows() * across(); }
    // Groups of tiles computed together, for a number of images: of nearly equal size, across images.
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

    // Layout of the kernel's transform: [block of channels][column][row][plane][re, im][channel]; sizes in floats.
    size_t of_column() const { return size_t(SIDE) * planes() * COMPLEX; }
    size_t of_block() const { return COLUMNS * of_column(); }
    size_t at(int block, int column, int row, int plane) const {
        return block * of_block() + column * of_column() + (size_t(row) * planes() + plane) * COMPLEX;
    }

    // Index of a weight of a channel in [input, kernel row, kernel column]; -1 outside the kernel.
    int index(int plane, int row, int column) const {
        row = row * stride + plane / stride % stride;
        column = column * stride + plane % stride;
        if (row >= kernel_rows || column >= kernel_columns) return -1;
        return (plane / (stride * stride) * kernel_rows + row) * kernel_columns + column;
    }
};

// Transform of the kernel, for every block of channels.
class KernelTransforms {
    const Tiles s;
    Lines<float> transforms;

  public:
    KernelTransforms(const Tiles& sizes, const float* weight) : s(sizes), transforms(s.blocks() * s.of_block()) {
        auto workspaces = for_threads(s.threads, [] { return Lines<float>(CELLS * COMPLEX); });
#pragma omp parallel for num_threads(s.threads) schedule(static)
        for (int block = 0; block < s.blocks(); block++)
            for (int plane = 0; plane < s.planes(); plane++) {
                float* workspace = workspaces[omp_get_thread_num()]->data();  // [column][row]
                for (int row = 0; row < s.tap_rows(); row += 2) {
                    auto store_both = [&](int column, Complex one, Complex other) {
                        store_complex(workspace + (column * SIDE + row) * COMPLEX, one);
                        store_complex(workspace + (column * SIDE + row + 1) * COMPLEX, other);
                    };
                    transform_rows(
                        [&](int column) {
                            if (column >= s.tap_columns()) return Complex{};
                            return Complex{taps(weight, block, s.index(plane, row, column)),
                                           taps(weight, block, s.index(plane, row + 1, column))};
                        },
                        store_both);
                }
                for (int column = 0; column < COLUMNS; column++)
                    transform(
                        [&](int row) {
                            const float* from = workspace + (column * SIDE + row) * COMPLEX;
                            return row < s.tap_rows() ? load_complex(from) : Complex{};
                        },
                        [&](int row, Complex x) { store_complex(&transforms[s.at(block, column, row, plane)], x); });
            }
    }
    const float* of(int block, int column) const { return &transforms[s.at(block, column, 0, 0)]; }

  private:
    // One weight for a vector of channels.
    Floats taps(const float* weight, int block, int index) const {
        Floats found = {};
        if (index < 0) return found;
        weight += block * LANES * s.of_channel() + index;
        for (int lane = 0; lane < LANES; lane++) found[lane] = weight[lane * s.of_channel()];
        return s.scale * UNIT * found;
    }
};

// Conjugate transforms of a group of tiles: [vector][column][row][re, im][plane of the vector][tile].
class TileTransforms {
    Lines<float> workspace, lines, transforms;

  protected:
    const Tiles s;

    explicit TileTransforms(const Tiles& sizes)
        : workspace(CELLS * COMPLEX), lines(SIDE * COMPLEX), transforms(sizes.vectors() * CELLS * COMPLEX), s(sizes) {}

    // Calls fill(row of a tile, first plane, line) to fill zeroed lines for the planes of a vector, and transforms them.
    template <class Fill>
    void transform_lines(Fill fill) {
        for (int vector = 0; vector < s.vectors(); vector++) {
            float* to = &transforms[vector * CELLS * COMPLEX];
            for (int row = 0; row < SIDE; row += 2) {
                std::fill(lines.begin(), lines.end(), 0.0f);
                for (int second : {0, 1}) fill(row + second, vector * GROUP, lines.data() + second * LANES);
                auto store_both = [&](int column, Complex one, Complex other) {
                    store_complex(&workspace[(column * SIDE + row) * COMPLEX], one);
                    store_complex(&workspace[(column * SIDE + row + 1) * COMPLEX], other);
                };
                transform_rows([&](int column) { return load_complex(&lines[column * COMPLEX]); }, store_both);
            }
            for (int column = 0; column < COLUMNS; column++, to += SIDE * COMPLEX)
                transform([&](int row) { return load_complex(&workspace[(column * SIDE + row) * COMPLEX]); },
                          [&](int row, Complex x) { store_complex(to + row * COMPLEX, {x.re, -x.im}); });
        }
    }
    // Position in a line of the first number of a plane of a tile.
    static size_t place(int plane, int tile) { return plane * TOGETHER + tile; }

  public:
    // Address for the first plane and tile. Other tiles are adjacent, imaginary parts LANES further, planes at `offset`.
    const float* of(int row, int column) const { return &transforms[(column * SIDE + row) * COMPLEX]; }
    static size_t offset(int plane) { return plane / GROUP * size_t(CELLS) * COMPLEX + plane % GROUP * TOGETHER; }
};

// sum + z * x, with the same number z for every lane.
INLINE void add_product(Complex& sum, const float* z, Complex x) {
    const Floats re = splat(z[0]), im = splat(z[LANES]);
    sum.re += re * x.re, sum.im += re * x.im, sum.re -= im * x.im, sum.im += im * x.re;
}

// Calls body with the number of tiles as a compile-time constant.
template <class Body>
INLINE void for_count(int count, Body body) {
    switch (count) {
    case 1: return body(std::integral_constant<int, 1>{});
    case 2: return body(std::integral_constant<int, 2>{});
    case 3: return body(std::integral_constant<int, 3>{});
    default: return body(std::integral_constant<int, TOGETHER>{});
    }
}
