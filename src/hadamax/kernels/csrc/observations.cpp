// Converts uint8 observations [image, channel, row, column] to [image, row, column, channel] by a table of 256 values, with a
// margin of zeros: one pass instead of a copy, a division and a pad. Images are `image_stride` bytes apart, because stacks
// in a replay buffer share frames.
#include <algorithm>
#include <cstddef>

#include "vector.h"

typedef HADAMAX_ELEMENT Element;

struct Shape {
    int32_t images, channels, rows, columns;
    int32_t top, bottom, left, right;
    int32_t threads;
};

// Converts the channels of a pixel, from planes that are `plane` bytes apart.
template <int CHANNELS>
INLINE void pixel(const Element* table, const uint8_t* byte, size_t plane, int channels, Element* out) {
    if constexpr (CHANNELS == 4 && sizeof(Element) == 2) {  // one store instead of four
        uint64_t four = 0;
        for (int c = 0; c < 4; c++) {
            uint16_t bits;
            memcpy(&bits, table + byte[c * plane], sizeof bits);
            four |= uint64_t(bits) << (16 * c);
        }
        memcpy(out, &four, sizeof four);
    } else
        for (int c = 0; c < (CHANNELS ? CHANNELS : channels); c++) out[c] = table[byte[c * plane]];
}

template <int CHANNELS>
static void convert(const Shape s, int64_t image_stride, const Element* table, const uint8_t* bytes, Element* out) {
    const size_t plane = size_t(s.rows) * s.columns, channels = s.channels;
    const size_t width = s.left + s.columns + s.right, height = s.top + s.rows + s.bottom;
#pragma omp parallel for collapse(2) num_threads(s.threads) schedule(static)
    for (int image = 0; image < s.images; image++)
        for (size_t row = 0; row < height; row++) {
            Element* to = out + (image * height + row) * width * channels;
            const bool margin = row < size_t(s.top) || row >= size_t(s.top + s.rows);
            std::fill(to, to + (margin ? width : s.left) * channels, Element{});
            if (margin) continue;
            to += s.left * channels;
            const uint8_t* from = bytes + image * image_stride + (row - s.top) * s.columns;
            for (int column = 0; column < s.columns; column++)
                pixel<CHANNELS>(table, from + column, plane, s.channels, to + column * channels);
            to += s.columns * channels;
            std::fill(to, to + s.right * channels, Element{});
        }
}

extern "C" void hadamax_observations(
    const Shape* s, int64_t image_stride, const Element* table, const uint8_t* bytes, Element* out) {
    auto specialised = s->channels == 4 ? convert<4> : s->channels == 1 ? convert<1> : convert<0>;
    specialised(*s, image_stride, table, bytes, out);
}
