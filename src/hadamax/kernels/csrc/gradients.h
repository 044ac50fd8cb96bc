// The gradients of weights and bias: products of a part of the data with a part of the output's gradient, in tiles of
// taps by channels that stay in registers while the sum over pixels runs.
#pragma once
#include "products.h"

// Two floats a lane, rounded and side by side as `multiply_add` takes them; for float32 the first alone.
INLINE Floats paired(Floats first, Floats second) {
    if constexpr (PAIR == 1) return first;
#if defined(HADAMAX_AVX512) && defined(__AVX512BF16__)
    const Words lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const __m512i order = (__m512i)(lanes | (lanes + 16) << 16);
    return (Floats)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
#endif
    return (Floats)(__builtin_convertvector(round_to_bfloat16(first), Words) |
                    __builtin_convertvector(round_to_bfloat16(second), Words) << 16);
}

// The gradients of the parts of the weights, summed over images by one thread.
class Gradients {
    static constexpr size_t NEAR = 40 << 10;  // bytes of a part of the gradient that the nearest cache holds

    const Sizes s;
    const int units;                 // columns of the gradient, or pairs of them
    const int strip;                 // steps of rows at a time
    const size_t down, along;        // from a row and from a column of the data to the next
    Lines<Element> parts;            // of a fold: [part][step of the strip][column or pair][channel][of the pair]
    Lines<float> sums;               // [part][tap][channel]
    std::vector<double> bias_sums;   // [channel]
    Lines<float> bias;               // the same, of a row
    const std::vector<int> offsets;  // of the taps in the data

    size_t row_size() const { return size_t(units) * s.channels * PAIR; }

  public:
    explicit Gradients(const Sizes& sizes)
        : s(sizes),
          units((s.half_columns() + PAIR - 1) / PAIR),
          strip(std::clamp(int(NEAR / (row_size() * sizeof(Element))), 1, s.steps())),
          down(Data::down(s)),
          along(Data::along(s)),
          parts(PARTS * strip * row_size()),
          sums(size_t(s.parts()) * s.taps() * s.channels),
          bias_sums(s.channels),
          bias(s.channels),
          offsets(Data::offsets(s)) {}

    // One image: dy [row, column, channel].
    void add(const Data& data, const Element* dy) {
        for (int first = 0; first < s.steps(); first += strip)
            for (int fold = 0; fold < s.folds(); fold++) {
                const int rows = std::min(strip, s.steps() - first);
                for (int row = 0; row < rows; row++)
                    if (fold == CENTRE)
                        spread<2>(dy, 0, first + row, row);
                    else
                        spread<1>(dy, fold, first + row, row);
                for (int part = fold * PARTS; part < (fold + 1) * PARTS; part++)
                    if (s.channels % (MOST_VECTORS * LANES) == 0)
                        tiles<MOST_VECTORS>(data, part, first, rows);
                    else
                        tiles<LEAST_VECTORS>(data, part, first, rows);
            }
    }

    void add(const Gradients& other) {
        for (size_t i = 0; i < sums.size(); i++) sums[i] += other.sums[i];
        for (int channel = 0; channel < s.channels; channel++) bias_sums[channel] += other.bias_sums[channel];
    }

    // Of the plain weights [channel, input, kernel row, kernel column] and the bias [channel].
    void write(float* dweight, float* dbias) const {
        for (int channel = 0; channel < s.channels; channel++) dbias[channel] = bias_sums[channel];
        for_taps(s, [&](int tap, int row, int plane, int column) {
            for (int fold = 0; fold < s.own_folds(); fold++)
                for (int p : {0, 1})
                    for (int q : {0, 1}) {
                        float* to = dweight + Weights::index(s, plane, s.row(row, fold, p), 2 * column + q);
                        put(to, fold, p, q, tap, false);
                        if (s.twice) put(to, CENTRE, p, q, tap, true);
                    }
        });
    }

  private:
    // What the parts of a fold have for a weight of every channel, instead of what is there or added to it.
    void put(float* to, int fold, int p, int q, int tap, bool more) const {
        auto sum = [&](int row, int column) {
            return &sums[(size_t(fold * PARTS + part_of(row, column)) * s.taps() + tap) * s.channels];
        };
        const float *one = sum(p, q), *across = sum(p, CENTRE), *down = sum(CENTRE, q), *all = sum(CENTRE, CENTRE);
        for (int channel = 0; channel < s.channels; channel++, to += s.of_channel())
            *to = (more ? *to : 0.0f) + s.scale * (one[channel] + across[channel] + down[channel] + all[channel]);
    }

    // dy of the two rows of a fold of a step, or of FOLDS together, to nine parts: the sums over rows, over columns and over
    // both.
    template <int FOLDS>
    void spread(const Element* dy, int fold, int step, int row) {
        Element* to = &parts[row * row_size()];
        const size_t apart = strip * row_size(), channels = s.channels;
        const Element* rows[FOLDS][2];  // null below the map
        for (int also = 0; also < FOLDS; also++)
            for (int p : {0, 1}) {
                const int of = s.row(step, fold + also, p);
                rows[also][p] = of < s.rows ? dy + of * s.columns * channels : nullptr;
            }
        std::fill(bias.begin(), bias.end(), 0.0f);
        for (int unit = 0; unit < units; unit++)
            for (size_t channel = 0; channel < channels; channel += LANES, to += LANES * PAIR) {
                Floats g[3][3][2] = {};
                for (int i = 0; i < PAIR; i++) {
                    for (int p : {0, 1})
                        for (int q : {0, 1})
                            for (int also = 0; also < FOLDS; also++)
                                g[p][q][i] += at(rows[also][p], 2 * (unit * PAIR + i) + q, channel);
                    for (int p : {0, 1}) g[p][CENTRE][i] = g[p][0][i] + g[p][1][i];
                    for (int q : {0, 1, CENTRE}) g[CENTRE][q][i] = g[0][q][i] + g[1][q][i];
                    store(&bias[channel], load(&bias[channel]) + g[CENTRE][CENTRE][i]);
                }
                for (int p : {0, 1, CENTRE})
                    for (int q : {0, 1, CENTRE}) {
                        Floats both = paired(g[p][q][0], g[p][q][1]);
                        memcpy(to + part_of(p, q) * apart, &both, sizeof both);
                    }
            }
        if (FOLDS == s.own_folds())  // every row was here
            for (size_t channel = 0; channel < channels; channel++) bias_sums[channel] += bias[channel];
    }
    Floats at(const Element* row, int column, size_t channel) const {
        return row && column < s.columns ? load(row + column * size_t(s.channels) + channel, Whole{}) : Floats{};
    }

    template <int VECTORS>
    void tiles(const Data& data, int part, int first, int rows) {
        constexpr int TAPS = SUMS / VECTORS;
        const int taps = offsets.size(), tiles = (taps + TAPS - 1) / TAPS;
        for (int channel = 0; channel < s.channels; channel += VECTORS * LANES)
            for (int tile = 0, tap = 0; tile < tiles; tile++) {
                const int count = (taps - tap + tiles - tile - 1) / (tiles - tile);  // tiles of almost one size
                any_tile<VECTORS, TAPS>(count, data, part, first, rows, channel, tap);
                tap += count;
            }
    }

    template <int VECTORS, int COUNT>
    void any_tile(int count, const Data& data, int part, int first, int rows, int channel, int tap) {
        if (count == COUNT)
            one_tile<VECTORS, COUNT>(data, part, first, rows, channel, tap);
        else if constexpr (COUNT > 1)
            any_tile<VECTORS, COUNT - 1>(count, data, part, first, rows, channel, tap);
    }

    // Every loop over taps and vectors is unrolled, or their sums would go through memory.
    template <int VECTORS, int TAPS>
    __attribute__((noinline)) void one_tile(const Data& data, int part, int first, int rows, int channel, int tap) {
        Floats total[TAPS][VECTORS];
        const Element *from[TAPS], *start = data.of(part, first);
#pragma GCC unroll 16
        for (int k = 0; k < TAPS; k++) {
            from[k] = start + offsets[tap + k];
#pragma GCC unroll 16
            for (int v = 0; v < VECTORS; v++) total[k][v] = Floats{};
        }
        const size_t channels = s.channels;
        const Element* gradient = &parts[part % PARTS * strip * row_size() + channel * PAIR];
        for (int row = 0; row < rows; row++) {
            for (int unit = 0; unit < units; unit++, gradient += channels * PAIR) {
                Floats g[VECTORS];
#pragma GCC unroll 16
                for (int v = 0; v < VECTORS; v++) g[v] = vector(gradient + v * LANES * PAIR);
#pragma GCC unroll 16
                for (int k = 0; k < TAPS; k++) {
                    Floats x = repeat(from[k] + unit * PAIR * along);
#pragma GCC unroll 16
                    for (int v = 0; v < VECTORS; v++) total[k][v] = multiply_add(total[k][v], g[v], x);
                }
            }
#pragma GCC unroll 16
            for (int k = 0; k < TAPS; k++) from[k] += down;
        }
        float* sum = &sums[(part * offsets.size() + tap) * channels + channel];
#pragma GCC unroll 16
        for (int k = 0; k < TAPS; k++)
#pragma GCC unroll 16
            for (int v = 0; v < VECTORS; v++) {
                float* to = sum + k * channels + v * LANES;
                store(to, load(to) + total[k][v]);
            }
    }
};
