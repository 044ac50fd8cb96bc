// The pixels of a pooling window that does not overlap others.
#pragma once
#include "call.h"

// Calls body(number) for each number of the sequence, unrolled.
template <class Body, int... numbers>
INLINE void each(Body body, std::integer_sequence<int, numbers...>) {
    (body(numbers), ...);
}

// Pixels of a window, indexed within a strip of the map that begins with the window's first row.
struct Pixels {
    const Sizes& s;
    Span rows, columns;

    bool whole() const {
        return HADAMAX_WINDOW && rows.end - rows.begin == s.window() && columns.end - columns.begin == s.window();
    }
    // Index row * window + column within the window before clipping to the map.
    int cell(int row, int column) const { return (row - rows.origin) * s.window() + column - columns.origin; }
    int first() const { return cell(rows.begin, columns.begin); }

    // Calls body(pixel of the strip, cell) for each pixel in order; unrolled along rows if the window is whole.
    template <bool whole, class Body>
    INLINED void for_each(Body body) const {
        for (int row = rows.begin; row < rows.end; row++) {
            auto call = [&](int column) __attribute__((always_inline)) {
                body((row - rows.begin) * s.columns + column, cell(row, column));
            };
            if constexpr (whole)
                each([&](int i) __attribute__((always_inline)) { call(columns.begin + i); },
                     std::make_integer_sequence<int, HADAMAX_WINDOW>{});
            else
                for (int column = columns.begin; column < columns.end; column++) call(column);
        }
    }
};
