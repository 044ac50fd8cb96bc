// Fourier transforms of tiles of float maps, channels-last, stride 1.
#pragma once
#include "fft_convolution.h"

class MapData : public TileTransforms {
  public:
    explicit MapData(const Tiles& sizes) : TileTransforms(sizes) {}

    void read(const float* images, Span group) {
        transform_lines([&](int row, int first, float* line) {
            const int count = std::min(GROUP, s.planes() - first);
            for (int tile = group.begin; tile < group.end; tile++)
                read_row(images + first, count, tile, row, line + tile - group.begin);
        });
    }

  private:
    void read_row(const float* planes, int count, int tile, int row, float* to) const {
        const int from_row = s.rows_of(tile).begin + row - s.top, from_column = s.columns_of(tile).begin - s.left;
        if (from_row < 0 || from_row >= s.input_rows) return;
        const int begin = std::max(0, -from_column), end = std::min(SIDE, s.input_columns - from_column);
        planes += s.image_of(tile) * s.image_stride + size_t(from_row) * s.input_columns * s.inputs;
        for (int column = begin; column < end; column++) {
            const float* pixel = planes + size_t(from_column + column) * s.inputs;
            for (int plane = 0; plane < count; plane++) to[column * COMPLEX + place(plane, 0)] = pixel[plane];
        }
    }
};
