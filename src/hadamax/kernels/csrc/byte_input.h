// Fourier transforms of tiles of uint8 images, plane by plane.
#pragma once
#include "fft_convolution.h"

class ByteData : public TileTransforms {
  public:
    explicit ByteData(const Tiles& sizes) : TileTransforms(sizes) {}

    void read(const uint8_t* image, Span group) {
        transform_lines([&](int row, int first, float* line) {
            for (int plane = first; plane < std::min(s.planes(), first + GROUP); plane++)
                for (int tile = group.begin; tile < group.end; tile++)
                    read_plane(image, plane, tile, row, line + place(plane - first, tile - group.begin));
        });
    }

  private:
    void read_plane(const uint8_t* image, int plane, int tile, int row, float* to) const {
        const int from_row = (s.rows_of(tile).begin + row) * s.stride + plane / s.stride % s.stride - s.top;
        if (from_row < 0 || from_row >= s.input_rows) return;
        const int from_column = s.columns_of(tile).begin * s.stride + plane % s.stride - s.left;
        const int begin = from_column < 0 ? (s.stride - 1 - from_column) / s.stride : 0;
        const int end = std::min(SIDE, (s.input_columns - from_column + s.stride - 1) / s.stride);
        const size_t from = plane / (s.stride * s.stride) * size_t(s.input_rows) + from_row;
        const uint8_t* bytes = image + s.image_of(tile) * s.image_stride + from * s.input_columns + from_column;
        for (int column = begin; column < end; column++) to[column * COMPLEX] = bytes[column * s.stride];
    }
};
