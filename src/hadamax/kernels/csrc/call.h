// One call of the block: the tensors and sizes, and what every pass over them needs.
//
// The library is compiled for one kind of block (see block.cpp); sizes are given at run time. x is [image,
// row, column, branch, channel]; its last two are the convolution's channels.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "activations.h"
#include "threads.h"

typedef HADAMAX_ELEMENT Element;
constexpr bool PRECISE = sizeof(Element) == 4;
constexpr bool NORMED = HADAMAX_NORM;
typedef Combined<PRECISE, HADAMAX_SUM, HADAMAX_ACTIVATIONS> Combination;
constexpr int BRANCHES = Combination::branches;

struct Sizes {
    int32_t images, rows, columns;        // of the convolution's output
    int32_t channels_;                    // of one branch
    int32_t pooled_rows, pooled_columns;  // of the result
    int32_t window_, stride_, pad;        // 1, 1, 0 is no pool; pad is the one before
    int32_t threads;
    float epsilon;

    // Known to the compiler where the library is made for one number of channels and one pool: loops unroll.
    int channels() const { return HADAMAX_CHANNELS ? HADAMAX_CHANNELS : channels_; }
    int window() const { return HADAMAX_WINDOW ? HADAMAX_WINDOW : window_; }
    int stride() const { return HADAMAX_STRIDE ? HADAMAX_STRIDE : stride_; }

    bool overlaps() const { return window() != stride(); }
    size_t pixel() const { return size_t(BRANCHES) * channels(); }  // elements of x in one pixel
    int padded_channels() const { return (channels() + LANES - 1) / LANES * LANES; }
};

// The pixels of one pooling window along one axis, clipped to the map.
struct Span {
    int origin, begin, end;
};
INLINE Span window_span(const Sizes& s, int index, int extent) {
    int origin = index * s.stride() - s.pad;
    return {origin, std::max(origin, 0), std::min(origin + s.window(), extent)};
}

constexpr int FEW = 4;  // channels whose gradients all but cancel, so that every digit of the variance counts
constexpr size_t LARGE = 32 << 20;  // bytes: what follows will not find a tensor of this size in the caches

// Asks for memory that is needed soon: measuring the next strip of the map would otherwise wait for it.
INLINE void fetch_ahead(const Element* memory) { __builtin_prefetch(memory, 0, 2); }

// Scale and bias of the norm as rows of whole vectors, ones and zeros where there are none.
struct Affine {
    std::vector<float> scales, biases;  // [branch, padded channel]
    int stride;

    Affine(const Sizes& s, const float* weight, const float* bias) : stride(s.padded_channels()) {
        scales.assign(size_t(BRANCHES) * stride, 0.0f);
        biases = scales;
        for (int b = 0; b < BRANCHES; b++)
            for (int c = 0; c < s.channels(); c++) {
                scales[b * stride + c] = weight ? weight[b * s.channels() + c] : 1.0f;
                biases[b * stride + c] = bias ? bias[b * s.channels() + c] : 0.0f;
            }
    }
    Floats scale(int branch, int c) const { return load(&scales[branch * stride + c]); }
    Floats bias(int branch, int c) const { return load(&biases[branch * stride + c]); }
};

// (x - mean) * scale. For bfloat16 the shift is -mean * scale, which saves an operation; where a pixel's channels are
// almost alike that would lose digits that a float has, so there it is -mean.
INLINE Floats normalise(Floats x, Floats scale, Floats shift) {
    return PRECISE ? (x + shift) * scale : x * scale + shift;
}

// Scale = 1 / sqrt(variance + epsilon) and shift of each pixel and branch.
struct Statistics {
    std::vector<float> scales[BRANCHES], shifts[BRANCHES];

    explicit Statistics(int pixels) {
        size_t padded = (size_t(pixels) + LANES - 1) / LANES * LANES;
        for (int b = 0; b < BRANCHES; b++) {
            scales[b].assign(padded, 1.0f);
            shifts[b].assign(padded, 0.0f);
        }
    }

    // Of `pixels` neighbours from x on, LANES at a time, so that one tree of additions serves all of them.
    // Memory is read in its order, branch after branch of a pixel: the processor then fetches ahead.
    void measure(const Element* x, int pixels, const Sizes& sizes) {
        if (!NORMED) return;
        const Sizes s = sizes;
        const float per_channel = 1.0f / s.channels();
        for (int first = 0; first < pixels; first += LANES) {
            Floats sums[BRANCHES][LANES], squares[BRANCHES][LANES];
            const Element* start = x + first * s.pixel();
            const Element* pixel = start;
            for (int i = 0; i < LANES; i++) {
                for (int b = 0; b < BRANCHES; b++) {
                    Floats sum = {}, square = {};
                    for_channels(s.channels(), [&](int c, auto count) {
                        Floats value = load(pixel + b * s.channels() + c, count);
                        sum += value;
                        square += value * value;
                    });
                    sums[b][i] = sum;
                    squares[b][i] = square;
                }
                if (first + i + 1 < pixels) pixel += s.pixel();  // past the end, the last one again
            }
            for (int b = 0; b < BRANCHES; b++) {
                Floats mean = row_sums(sums[b]) * per_channel;
                Floats variance = row_sums(squares[b]) * per_channel - mean * mean;
                Ints unsure = ~(variance >= mean * mean * (PRECISE ? 0.1f : 1e-3f));  // NaN where a square overflows
                if (PRECISE && s.channels() <= FEW) unsure = unsure | -1;
                if (any(unsure)) {
                    Floats exact_mean = mean;
                    Floats exact = variance_from_differences(start + b * s.channels(), pixels - first, exact_mean, s);
                    variance = unsure ? exact : variance;  // a pixel's numbers do not depend on its neighbours
                    mean = unsure ? exact_mean : mean;
                }
                Floats scale = inverse_root(variance + s.epsilon);
                // 16 of its bits, so that a bfloat16 times it is exact, and less the mean nothing where all are equal.
                if (!PRECISE) scale = (Floats)((Words)scale & 0xffffff00u);
                store(&scales[b][first], scale);
                store(&shifts[b][first], PRECISE ? -mean : -mean * scale);
            }
        }
    }

    Floats normalised(int branch, int pixel, Floats x) const {
        return NORMED ? normalise(x, splat(scales[branch][pixel]), splat(shifts[branch][pixel])) : x;
    }

  private:
    // The mean of squares less the square of the mean loses its digits where the mean is far from zero. This does
    // not; and it corrects the mean by what the differences show that it is off, so that equal channels have none.
    static __attribute__((noinline)) Floats variance_from_differences(const Element* row, int pixels, Floats& mean,
                                                                      const Sizes& s) {
        Floats sums[LANES] = {}, squares[LANES] = {};
        for (int i = 0; i < std::min(pixels, LANES); i++)
            for_channels(s.channels(), [&](int c, auto count) {
                Floats difference = existing(load(row + i * s.pixel() + c, count) - mean[i], count);
                sums[i] += difference;
                squares[i] += difference * difference;
            });
        Floats off = row_sums(sums) / float(s.channels());
        mean += off;
        return row_sums(squares) / float(s.channels()) - off * off;
    }
};

// Gradients of scale and bias, [branch, padded channel] each: short sums in float, long ones in double.
struct AffineGradient {
    int stride;
    std::vector<float> scales, biases;
    std::vector<double> scale_totals, bias_totals;

    explicit AffineGradient(const Sizes& s)
        : stride(s.padded_channels()),
          scales(size_t(BRANCHES) * stride),
          biases(scales),
          scale_totals(scales.size()),
          bias_totals(scales.size()) {}

    void add(int branch, int c, Floats to_scale, Floats to_bias) {
        int at = branch * stride + c;
        store(&scales[at], load(&scales[at]) + to_scale);
        store(&biases[at], load(&biases[at]) + to_bias);
    }
    void flush() {
        for (size_t i = 0; i < scales.size(); i++) {
            scale_totals[i] += scales[i];
            bias_totals[i] += biases[i];
            scales[i] = biases[i] = 0.0f;
        }
    }
    // Of this thread, as [scales or biases, branch, channel].
    void write(double* out, const Sizes& s) const {
        for (int b = 0; b < BRANCHES; b++)
            for (int c = 0; c < s.channels(); c++) {
                out[b * s.channels() + c] = scale_totals[b * stride + c];
                out[(BRANCHES + b) * s.channels() + c] = bias_totals[b * stride + c];
            }
    }
};

// The norm's backward, for LANES pixels of a branch: `owed` spreads over all channels of a pixel what their shared
// mean and variance owe, with a slope and an offset from the sums of the gradient and of gradient * normalised.
INLINE void spread(Floats scale, Floats shift, Floats gradient_sum, Floats product_sum, float per_channel,
                   float* slope, float* offset) {
    Floats mean = gradient_sum * per_channel, along = product_sum * per_channel;
    store(slope, -scale * scale * along);
    store(offset, PRECISE ? -scale * mean : -scale * (mean + shift * along));
}
INLINE Floats owed(Floats x, float shift, float slope, float offset) {
    return PRECISE ? (x + shift) * slope + offset : x * slope + offset;
}
