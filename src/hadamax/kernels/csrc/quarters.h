// Convolution by quarters: sizes, and what is multiplied with what.
//
// Along one axis, two neighbouring outputs of a kernel of even length are
//     y0 = x0 g0 + x1 g1,  y1 = x1 g0 + x2 g1,
// g0 and g1 being its even and odd taps, x0, x1, x2 the inputs from 0, 1, 2 on, every second of them. Three products do
// (Winograd's F(2, 2)):
//     y0 = centre + (x0 - x1) g0,  y1 = centre + (x2 - x1) g1,  centre = x1 (g0 + g1).
// Over both axes nine do, of a quarter of the taps each: 9/16 of the multiplications. Differences of bytes lose nothing
// in bfloat16 (differences of differences 1 at most, beyond 256), and sums of weights are rounded once, so the result is as near
// to the exact one as the plain form's. A stride is taken first, as so many channels more.
//
// In float32, rows may be taken apart twice: each of the three products along them, a fold, is again such a convolution, of
// every second row. Then 27 products of an eighth of the taps do for four rows by two columns: 27/64.
//
// bytes.h and maps.h read what is convolved.
#pragma once
#include <type_traits>

#include "convolution.h"

typedef HADAMAX_INPUT Input;  // uint8_t, or Element
constexpr bool MAPS = !std::is_same_v<Input, uint8_t>;
// What is multiplied at once by a lane: one float, or two neighbouring bfloat16.
constexpr int PAIR = 4 / sizeof(Element);

constexpr int CENTRE = 2, PARTS = 9;
INLINE constexpr int part_of(int row, int column) { return row * 3 + column; }

struct Sizes {
    int64_t apart;  // elements from one image to the next
    int32_t images, inputs, input_rows, input_columns;
    int32_t channels, rows, columns;  // of the output
    int32_t kernel_rows, kernel_columns, stride, top, left;
    int32_t threads;
    int32_t twice;  // whether rows are taken apart twice: 0 or 1
    float scale;    // the products are multiplied by

    size_t of_channel() const { return size_t(inputs) * kernel_rows * kernel_columns; }  // weights
    size_t outputs() const { return size_t(rows) * columns * channels; }
    int folds() const { return twice ? CENTRE + 1 : 1; }
    int own_folds() const { return twice ? CENTRE : 1; }  // that rows of the output, and taps, belong to
    int parts() const { return folds() * PARTS; }
    int step() const { return twice ? 4 : 2; }  // rows of the output that are computed together, and of taps
    int steps() const { return (rows + step() - 1) / step(); }
    int half_columns() const { return (columns + 1) / 2; }
    int tap_rows() const { return kernel_rows / stride / step(); }  // of a part
    int tap_columns() const { return kernel_columns / stride / 2; }
    int planes() const { return inputs * stride * stride; }
    int data_rows() const { return steps() + tap_rows() - 1; }
    int data_columns() const { return half_columns() + tap_columns() - 1; }
    int taps() const { return tap_rows() * planes() * tap_columns(); }
    // The first or second row of a fold of a step.
    int row(int index, int fold, int p) const { return index * step() + (twice ? 2 * p + fold : p); }
};

// Calls body(number of the tap, row, plane, column), in the order in which their data lie.
template <class Body>
static void for_taps(const Sizes& s, Body body) {
    int tap = 0;
    for (int row = 0; row < s.tap_rows(); row++)
        if (MAPS)
            for (int column = 0; column < s.tap_columns(); column++)
                for (int plane = 0; plane < s.planes(); plane++) body(tap++, row, plane, column);
        else
            for (int plane = 0; plane < s.planes(); plane++)
                for (int column = 0; column < s.tap_columns(); column++) body(tap++, row, plane, column);
}

INLINE void set(float& element, float value) { element = value; }
INLINE void set(bfloat16& element, float value) { element.bits = round_to_bfloat16(splat(value))[0]; }

// The parts of the weights: [part][tap, or pair of taps][channel][of the pair].
class Weights {
    const size_t apart;
    Lines<Element> parts;

  public:
    Weights(const Sizes& s, const float* weight) : apart(size_t(s.taps()) * s.channels), parts(s.parts() * apart) {
#pragma omp parallel for num_threads(s.threads) schedule(static)
        for (int first = 0; first < s.channels; first += LANES)
            for_taps(s, [&](int tap, int row, int plane, int column) {
                const float* channel = weight + first * s.of_channel();
                Element* to = &parts[(size_t(tap / PAIR) * s.channels + first) * PAIR + tap % PAIR];
                for (int fold = 0; fold < s.folds(); fold++, to += PARTS * apart)
                    split(to, [&](int p, int q, int i) {
                        auto one = [&](int own) {
                            return channel[i * s.of_channel() + index(s, plane, s.row(row, own, p), 2 * column + q)];
                        };
                        return fold == CENTRE ? one(0) + one(1) : one(fold);
                    });
            });
    }
    const Element* of(int part) const { return parts.data() + part * apart; }

    // Where a weight of a channel is in [input, kernel row, kernel column]; row and column count strides.
    static size_t index(const Sizes& s, int plane, int row, int column) {
        const int input = plane / (s.stride * s.stride);
        row = row * s.stride + plane / s.stride % s.stride;
        column = column * s.stride + plane % s.stride;
        return (size_t(input) * s.kernel_rows + row) * s.kernel_columns + column;
    }

  private:
    // A vector of channels of a tap, weight(row, column, channel), to nine parts. These lie so far apart that they would
    // drive each other from the cache, if they were written channel by channel.
    template <class Weight>
    void split(Element* to, Weight weight) {
        float g[3][3][LANES];
        for (int i = 0; i < LANES; i++) {
            for (int p : {0, 1})
                for (int q : {0, 1}) g[p][q][i] = weight(p, q, i);
            for (int p : {0, 1}) g[p][CENTRE][i] = g[p][0][i] + g[p][1][i];
            for (int q : {0, 1, CENTRE}) g[CENTRE][q][i] = g[0][q][i] + g[1][q][i];
        }
        for (int p = 0; p < 3; p++)
            for (int q = 0; q < 3; q++)
                for (int i = 0; i < LANES; i++) set(to[part_of(p, q) * apart + i * PAIR], g[p][q][i]);
    }
};
