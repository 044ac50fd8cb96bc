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
#pragma once
#include <algorithm>
#include <cstddef>
#include <new>
#include <vector>

#include "memory.h"
#include "threads.h"

typedef HADAMAX_ELEMENT Element;
// What is multiplied at once by a lane: one float, or two neighbouring bfloat16.
constexpr int PAIR = 4 / sizeof(Element);

// Rows of whole vectors that begin where a line of the cache does: a vector across two lines takes twice the time.
template <class T>
struct OnLines {
    typedef T value_type;
    T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T* memory, size_t) { ::operator delete(memory, std::align_val_t(64)); }
    bool operator==(const OnLines&) const { return true; }
    bool operator!=(const OnLines&) const { return false; }
};
template <class T>
using Lines = std::vector<T, OnLines<T>>;

constexpr int CENTRE = 2, PARTS = 9;
INLINE constexpr int part_of(int row, int column) { return row * 3 + column; }

struct Sizes {
    int64_t apart;  // bytes from one image to the next
    int32_t images, inputs, input_rows, input_columns;
    int32_t channels, rows, columns;  // of the output
    int32_t kernel_rows, kernel_columns, stride, top, left;
    int32_t threads;
    float scale;  // the bytes are multiplied by

    size_t outputs() const { return size_t(rows) * columns * channels; }
    int half_rows() const { return (rows + 1) / 2; }
    int half_columns() const { return (columns + 1) / 2; }
    int tap_rows() const { return kernel_rows / stride / 2; }  // of a quarter
    int tap_columns() const { return kernel_columns / stride / 2; }
    int planes() const { return inputs * stride * stride; }
    int data_rows() const { return half_rows() + tap_rows() - 1; }
    int data_columns() const { return (half_columns() + tap_columns() + 1 + LANES - 1) / LANES * LANES; }
    size_t plane() const { return size_t(data_rows()) * data_columns(); }
    int taps() const { return tap_rows() * planes() * tap_columns(); }  // in the order row, plane, column
};

// Calls body(number of the tap, row, plane, column).
template <class Body>
static void for_taps(const Sizes& s, Body body) {
    int tap = 0;
    for (int row = 0; row < s.tap_rows(); row++)
        for (int plane = 0; plane < s.planes(); plane++)
            for (int column = 0; column < s.tap_columns(); column++) body(tap++, row, plane, column);
}

INLINE Floats numbers(const int16_t* memory) {
    Shorts raw;
    memcpy(&raw, memory, sizeof raw);
#ifdef HADAMAX_AVX512
    return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32((__m256i)raw));
#else
    return __builtin_convertvector(raw, Floats);
#endif
}

// One image as its nine parts: [part][plane][row][column].
class Data {
    const Sizes s;
    const int width;             // of half a row of bytes, as `split` has them
    std::vector<int16_t> split;  // [row][even or odd column][half column], of one plane
    std::vector<uint8_t> line;   // a row of the map within zeros
    Lines<Element> parts;

  public:
    explicit Data(const Sizes& sizes)
        : s(sizes),
          width((s.data_columns() / (2 * LANES) + 1) * 2 * LANES),
          split(size_t(2 * s.data_rows() + 1) * 2 * width),
          line(2 * size_t(s.stride) * (width + 1)),
          parts(PARTS * s.planes() * s.plane()) {}

    // A row of a part: its taps lie `offset` further.
    const Element* of(int part, int row) const {
        return parts.data() + part * s.planes() * s.plane() + size_t(row) * s.data_columns();
    }
    // Of the taps, in their order.
    static std::vector<int> offsets(const Sizes& s) {
        std::vector<int> found(s.taps());
        for_taps(s, [&](int tap, int row, int plane, int column) { found[tap] = offset(s, row, plane, column); });
        return found;
    }

    void read(const uint8_t* image) {
        for (int plane = 0; plane < s.planes(); plane++) {
            read_plane(image + plane / (s.stride * s.stride) * size_t(s.input_rows) * s.input_columns,
                       plane / s.stride % s.stride, plane % s.stride);
            for (int row = 0; row < s.data_rows(); row++) subtract(plane, row);
        }
    }

  private:
    static int offset(const Sizes& s, int row, int plane, int column) {
        return plane * s.plane() + row * s.data_columns() + column;
    }

    // Every stride-th row and column from `row0`, `column0` on, zeros around the map.
    void read_plane(const uint8_t* bytes, int row0, int column0) {
        const int step = 2 * s.stride;
        for (int row = 0; row <= 2 * s.data_rows(); row++) {
            const int from_row = row * s.stride + row0 - s.top;
            int16_t* halves = &split[size_t(row) * 2 * width];
            if (from_row < 0 || from_row >= s.input_rows) {
                std::fill(halves, halves + 2 * width, int16_t(0));
                continue;
            }
            memcpy(&line[s.left], bytes + size_t(from_row) * s.input_columns, s.input_columns);
            for (int odd : {0, 1}) {
                const uint8_t* from = &line[odd * s.stride + column0];
                int16_t* to = halves + odd * width;
                if (step == 2)
                    copy<2>(from, to, width, step);
                else if (step == 4)
                    copy<4>(from, to, width, step);
                else
                    copy<0>(from, to, width, step);
            }
        }
    }

    // A step that the compiler knows lets it take whole vectors.
    template <int STEP>
    static void copy(const uint8_t* from, int16_t* to, int count, int step) {
        for (int i = 0; i < count; i++) to[i] = from[i * (STEP ? STEP : step)];
    }

    void subtract(int plane, int row) {
        const int16_t* rows[3];  // even, even again and odd
        for (int i = 0; i < 3; i++) rows[i] = &split[size_t(2 * row + i) * 2 * width];
        Element* to = parts.data() + offset(s, row, plane, 0);
        const size_t apart = s.planes() * s.plane();
        for (int column = 0; column < s.data_columns(); column += LANES) {
            Floats even[3], odd[3], next[3];
            for (int i = 0; i < 3; i++) {
                even[i] = numbers(rows[i] + column);
                odd[i] = numbers(rows[i] + width + column);
                next[i] = numbers(rows[i] + column + 1);
            }
            auto put = [&](int part_row, Floats even, Floats odd, Floats next) {
                store(to + part_of(part_row, 0) * apart + column, even - odd, Whole{});
                store(to + part_of(part_row, 1) * apart + column, next - odd, Whole{});
                store(to + part_of(part_row, CENTRE) * apart + column, odd, Whole{});
            };
            put(0, even[0] - even[1], odd[0] - odd[1], next[0] - next[1]);
            put(1, even[2] - even[1], odd[2] - odd[1], next[2] - next[1]);
            put(CENTRE, even[1], odd[1], next[1]);
        }
    }
};

INLINE void set(float& element, float value) { element = value; }
INLINE void set(bfloat16& element, float value) { element.bits = round_to_bfloat16(splat(value))[0]; }

// The nine parts of the weights: [part][tap, or pair of taps][channel][of the pair].
class Weights {
    const size_t apart;
    Lines<Element> parts;

  public:
    Weights(const Sizes& s, const float* weight) : apart(size_t(s.taps()) * s.channels), parts(PARTS * apart) {
        auto put = [&](int part, int tap, int channel, float value) {
            set(parts[part * apart + (tap / PAIR * s.channels + channel) * PAIR + tap % PAIR], value);
        };
        for (int channel = 0; channel < s.channels; channel++)
            for_taps(s, [&](int tap, int row, int plane, int column) {
                float g[3][3];
                for (int p : {0, 1})
                    for (int q : {0, 1}) g[p][q] = weight[index(s, channel, plane, 2 * row + p, 2 * column + q)];
                for (int p : {0, 1}) g[p][CENTRE] = g[p][0] + g[p][1];
                for (int q : {0, 1, CENTRE}) g[CENTRE][q] = g[0][q] + g[1][q];
                for (int p = 0; p < 3; p++)
                    for (int q = 0; q < 3; q++) put(part_of(p, q), tap, channel, g[p][q]);
            });
    }
    const Element* of(int part) const { return parts.data() + part * apart; }

    // Where a weight is in [channel, input, kernel row, kernel column]; row and column count strides.
    static size_t index(const Sizes& s, int channel, int plane, int row, int column) {
        const int input = plane / (s.stride * s.stride);
        row = row * s.stride + plane / s.stride % s.stride;
        column = column * s.stride + plane % s.stride;
        return ((size_t(channel) * s.inputs + input) * s.kernel_rows + row) * s.kernel_columns + column;
    }
};
