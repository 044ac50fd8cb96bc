// Products of a part of the data with a part of the weights: tiles of pixels by channels that stay in registers while
// the sum over the taps runs.
#pragma once
#include "bytes.h"
#include "maps.h"

using Data = std::conditional_t<MAPS, MapData, ByteData>;
static_assert(!MAPS || PAIR == 1);  // pairs are of columns, and a map's neighbours are inputs

// Vectors of channels in a tile, and how many sums fill the registers but for what is multiplied.
#if defined(__AVX2__) && !defined(HADAMAX_AVX512)
constexpr int MOST_VECTORS = 2, SUMS = 12;  // 16 registers
#else
constexpr int MOST_VECTORS = 4, SUMS = 24;  // 32
#endif
constexpr int LEAST_VECTORS = 2;
constexpr int TILE_CHANNELS = LEAST_VECTORS * LANES;  // the channels are a multiple of

#if defined(HADAMAX_AVX512) && defined(__AVX512BF16__)
constexpr bool PAYS = true;
#elif defined(__x86_64__) && !defined(__AVX2__)
constexpr bool PAYS = false;  // too few and too small registers
#else
constexpr bool PAYS = PAIR == 1;  // two float32 products are slower than what the system's library does
#endif

// sum + a * b in float32, of floats, or of pairs of bfloat16.
INLINE Floats multiply_add(Floats sum, Floats a, Floats b) {
    if constexpr (PAIR == 1) return sum + a * b;
#if defined(HADAMAX_AVX512) && defined(__AVX512BF16__)
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    Floats low_a = (Floats)((Words)a << 16), low_b = (Floats)((Words)b << 16);
    Floats high_a = (Floats)((Words)a & 0xffff0000u), high_b = (Floats)((Words)b & 0xffff0000u);
    return sum + low_a * low_b + high_a * high_b;
#endif
}
INLINE Floats repeat(const Element* memory) {
    uint32_t bits;
    memcpy(&bits, memory, sizeof bits);
    return (Floats)(Words{} + bits);
}
INLINE Floats vector(const Element* memory) {
    Floats raw;
    memcpy(&raw, memory, sizeof raw);
    return raw;
}

// What a row of sums starts from: nothing, a row, or the sum of two or three.
struct Nothing {
    Floats operator()(size_t) const { return Floats{}; }
};
struct Row {
    const float* row;

    Floats operator()(size_t at) const { return load(row + at); }
};
struct Rows {
    const float *first, *second;

    Floats operator()(size_t at) const { return load(first + at) + load(second + at); }
};

struct Three {
    Rows rows;
    const float* third;

    Floats operator()(size_t at) const { return rows(at) + load(third + at); }
};

// Where a row of sums goes, and what is to be fetched for it while they are made: kept for others to start from,
struct Keep {
    float* row;

    void fetch(int, int, size_t) const {}  // it is near
    void operator()(int pixel, int channel, size_t channels, Floats sum) const {
        store(row + pixel * channels + channel, sum);
    }
};

// or to every second column of the output.
struct Finish {
    Element* y;
    int odd, columns;
    float scale;
    const float* bias;

    void fetch(int pixel, int channel, size_t channels) const {
        __builtin_prefetch(y + (2 * pixel + odd) * channels + channel, 1, 0);
    }
    void operator()(int pixel, int channel, size_t channels, Floats sum) const {
        const int column = 2 * pixel + odd;
        if (column < columns)
            store(y + column * channels + channel, sum * scale + load(bias + channel), Whole{});
    }
};

// One part of the data, from a row on, times the weights of that part.
struct Products {
    const Sizes& s;
    const Element *data, *weights;
    const int *offsets, taps;

    template <class Start, class Put>
    void row(Start start, Put put) const {
        if (s.channels % (MOST_VECTORS * LANES) == 0)
            tiles<MOST_VECTORS>(start, put);
        else
            tiles<LEAST_VECTORS>(start, put);
    }

  private:
    template <int VECTORS, class Start, class Put>
    void tiles(Start start, Put put) const {
        constexpr int PIXELS = SUMS / VECTORS;
        const int pixels = s.half_columns(), tiles = (pixels + PIXELS - 1) / PIXELS;
        for (int channel = 0; channel < s.channels; channel += VECTORS * LANES)
            for (int tile = 0, first = 0; tile < tiles; tile++) {
                const int count = (pixels - first + tiles - tile - 1) / (tiles - tile);  // tiles of almost one size
                any_tile<VECTORS, PIXELS>(count, first, channel, start, put);
                first += count;
            }
    }

    template <int VECTORS, int COUNT, class Start, class Put>
    void any_tile(int count, int first, int channel, Start start, Put put) const {
        if (count == COUNT)
            one_tile<VECTORS, COUNT>(first, channel, start, put);
        else if constexpr (COUNT > 1)
            any_tile<VECTORS, COUNT - 1>(count, first, channel, start, put);
    }

    template <int VECTORS, int COUNT, class Start, class Put>
    __attribute__((noinline)) void one_tile(int first, int channel, Start start, Put put) const {
        Floats sums[COUNT][VECTORS];
        const size_t channels = s.channels;
#pragma GCC unroll 16
        for (int pixel = 0; pixel < COUNT; pixel++)
#pragma GCC unroll 16
            for (int v = 0; v < VECTORS; v++) {
                sums[pixel][v] = start((first + pixel) * channels + channel + v * LANES);
                put.fetch(first + pixel, channel + v * LANES, channels);
            }
        const Element *weight = weights + size_t(channel) * PAIR, *from = data + first * Data::along(s);
        const size_t step = channels * PAIR;
        const int run = MAPS ? s.planes() : PAIR;  // taps whose data follow each other
        for (int tap = 0; tap < taps; tap += run) {
            const Element* x = from + offsets[tap];
#pragma GCC unroll 4
            for (int i = 0; i < run; i += PAIR, x += PAIR, weight += step) {
                Floats w[VECTORS];
#pragma GCC unroll 16
                for (int v = 0; v < VECTORS; v++) w[v] = vector(weight + v * LANES * PAIR);
#pragma GCC unroll 16
                for (int pixel = 0; pixel < COUNT; pixel++) {
                    Floats value = repeat(x + pixel * Data::along(s));
#pragma GCC unroll 16
                    for (int v = 0; v < VECTORS; v++) sums[pixel][v] = multiply_add(sums[pixel][v], w[v], value);
                }
            }
        }
#pragma GCC unroll 16
        for (int pixel = 0; pixel < COUNT; pixel++)
#pragma GCC unroll 16
            for (int v = 0; v < VECTORS; v++) put(first + pixel, channel + v * LANES, channels, sums[pixel][v]);
    }
};
