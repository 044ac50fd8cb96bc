// A map of numbers, channels-last. It has no stride.
#pragma once
#include "quarters.h"

// One image as its nine parts: [part][row][column][input].
class MapData {
    const Sizes s;
    const size_t row_size, apart;  // from a row to the next, from a part to the next
    const Lines<Element> margin;   // a pixel beside the map
    Lines<Element> parts;

  public:
    explicit MapData(const Sizes& sizes)
        : s(sizes), row_size(down(s)), apart(s.data_rows() * row_size), margin(s.inputs), parts(PARTS * apart) {}

    // From a row to the next, and from a column to the next.
    static size_t down(const Sizes& s) { return size_t(s.data_columns()) * s.inputs; }
    static size_t along(const Sizes& s) { return s.inputs; }

    // A row of a part: its taps lie `offsets` further.
    const Element* of(int part, int row) const { return parts.data() + part * apart + row * row_size; }
    // Of the taps, in their order.
    static std::vector<int> offsets(const Sizes& s) {
        std::vector<int> found(s.taps());
        for_taps(s, [&](int tap, int row, int input, int column) {
            found[tap] = row * down(s) + column * along(s) + input;
        });
        return found;
    }

    void read(const Element* image) {
        for (int row = 0; row < s.data_rows(); row++)
            for (int column = 0; column < s.data_columns(); column++) subtract(image, row, column);
    }

  private:
    const Element* pixel(const Element* image, int row, int column) const {
        const bool inside = row >= 0 && column >= 0 && row < s.input_rows && column < s.input_columns;
        return inside ? image + (size_t(row) * s.input_columns + column) * s.inputs : margin.data();
    }

    void subtract(const Element* image, int row, int column) {
        const Element* from[3][3];  // even, odd and even again, along both axes
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) from[i][j] = pixel(image, 2 * row + i - s.top, 2 * column + j - s.left);
        Element* to = parts.data() + row * row_size + column * along(s);
        for (int input = 0; input < s.inputs; input += LANES) {
            Floats x[3][3];
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 3; j++) x[i][j] = load(from[i][j] + input, Whole{});
            auto put = [&](int part_row, Floats even, Floats odd, Floats next) {
                store(to + part_of(part_row, 0) * apart + input, even - odd, Whole{});
                store(to + part_of(part_row, 1) * apart + input, next - odd, Whole{});
                store(to + part_of(part_row, CENTRE) * apart + input, odd, Whole{});
            };
            put(0, x[0][0] - x[1][0], x[0][1] - x[1][1], x[0][2] - x[1][2]);
            put(1, x[2][0] - x[1][0], x[2][1] - x[1][1], x[2][2] - x[1][2]);
            put(CENTRE, x[1][0], x[1][1], x[1][2]);
        }
    }
};
