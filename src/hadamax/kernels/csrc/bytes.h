// An image of bytes, plane after plane.
#pragma once
#include "quarters.h"

INLINE Floats numbers(const int16_t* memory) {
    Shorts raw;
    memcpy(&raw, memory, sizeof raw);
#ifdef HADAMAX_AVX512
    return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32((__m256i)raw));
#else
    return __builtin_convertvector(raw, Floats);
#endif
}

// One image as its parts: [part][plane][row][column].
class ByteData {
    const Sizes s;
    const int columns;           // of a row, whole vectors
    const size_t plane_size;
    const int width;             // of half a row of bytes, as `split` has them
    std::vector<int16_t> split;  // [row][even or odd column][half column], of one plane
    std::vector<int16_t> fold;   // the same, of a fold
    std::vector<uint8_t> line;   // a row of the map within zeros
    Lines<Element> parts;

  public:
    explicit ByteData(const Sizes& sizes)
        : s(sizes),
          columns(down(s)),
          plane_size(size_t(s.data_rows()) * columns),
          width((columns / (2 * LANES) + 1) * 2 * LANES),
          split(size_t(read_rows(s)) * 2 * width),
          fold(s.twice ? size_t(2 * s.data_rows() + 1) * 2 * width : 0),
          line(2 * size_t(s.stride) * (width + 1)),
          parts(s.parts() * s.planes() * plane_size) {}

    // From a row to the next, and from a column to the next.
    static size_t down(const Sizes& s) { return (s.data_columns() + 2 + LANES - 1) / LANES * LANES; }
    static constexpr size_t along(const Sizes&) { return 1; }

    // A row of a part: its taps lie `offsets` further.
    const Element* of(int part, int row) const {
        return parts.data() + part * s.planes() * plane_size + size_t(row) * columns;
    }
    // Of the taps, in their order.
    static std::vector<int> offsets(const Sizes& s) {
        std::vector<int> found(s.taps());
        for_taps(s, [&](int tap, int row, int plane, int column) {
            found[tap] = (plane * s.data_rows() + row) * down(s) + column;
        });
        return found;
    }

    void read(const uint8_t* image) {
        for (int plane = 0; plane < s.planes(); plane++) {
            read_plane(image + plane / (s.stride * s.stride) * size_t(s.input_rows) * s.input_columns,
                       plane / s.stride % s.stride, plane % s.stride);
            for (int number = 0; number < s.folds(); number++) {
                if (s.twice) subtract_rows(number);
                for (int row = 0; row < s.data_rows(); row++) subtract(number, plane, row);
            }
        }
    }

  private:
    static int read_rows(const Sizes& s) { return s.twice ? 4 * s.data_rows() + 3 : 2 * s.data_rows() + 1; }

    // Every stride-th row and column from `row0`, `column0` on, zeros around the map.
    void read_plane(const uint8_t* bytes, int row0, int column0) {
        const int step = 2 * s.stride;
        for (int row = 0; row < read_rows(s); row++) {
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

    void subtract_rows(int number) {
        const int size = 2 * width;
        for (int row = 0; row <= 2 * s.data_rows(); row++) {
            const int16_t *even = &split[size_t(2 * row) * size], *odd = even + size, *next = odd + size;
            const int16_t* other = number ? next : even;
            int16_t* to = &fold[size_t(row) * size];
            if (number == CENTRE)
                std::copy(odd, next, to);
            else
                for (int i = 0; i < size; i++) to[i] = other[i] - odd[i];
        }
    }

    void subtract(int number, int plane, int row) {
        const int16_t* rows[3];  // even, even again and odd
        for (int i = 0; i < 3; i++) rows[i] = &(s.twice ? fold : split)[size_t(2 * row + i) * 2 * width];
        const size_t apart = s.planes() * plane_size;
        Element* to = parts.data() + number * PARTS * apart + plane * plane_size + size_t(row) * columns;
        for (int column = 0; column < columns; column += LANES) {
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

