// Sizes of one call of the block, and what every pass over its tensors needs.
//
// The library is compiled for one kind of block (see block.cpp); sizes are given at run time. x is [image, row, column,
// branch, channel]; its last two axes are the convolution's channels.
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
    int32_t window_, stride_, pad;        // 1, 1, 0 means no pool; pad is the padding before
    int32_t threads;
    float epsilon;

    // Compile-time constants if the library is specialised, so that loops unroll.
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

constexpr int FEW = 4;  // channels: with so few, gradients nearly cancel, and the variance must be computed exactly
constexpr size_t LARGE = 32 << 20;  // bytes: a tensor of this size does not stay in the caches

// Prefetches memory of the next strip, for which `measure` would otherwise wait.
INLINE void fetch_ahead(const Element* memory) { __builtin_prefetch(memory, 0, 2); }

// Scale and bias of the norm, padded to whole vectors; ones and zeros if there are none.
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

// (x - mean) * scale. For bfloat16 the shift is -mean * scale, which saves an operation. For float32 it is -mean, because
// the product would lose precision where a pixel's channels are almost equal.
INLINE Floats normalise(Floats x, Floats scale, Floats shift) {
    return PRECISE ? (x + shift) * scale : x * scale + shift;
}

// Scale = 1 / sqrt(variance + epsilon) and shift of each pixel and branch, see `normalise`.
struct Statistics {
    std::vector<float> scales[BRANCHES], shifts[BRANCHES];

    explicit Statistics(int pixels) {
        size_t padded = (size_t(pixels) + LANES - 1) / LANES * LANES;
        for (int b = 0; b < BRANCHES; b++) {
            scales[b].assign(padded, 1.0f);
            shifts[b].assign(padded, 0.0f);
        }
    }

    // For `pixels` consecutive pixels from x, LANES at a time, so that one tree of additions reduces all of them. Memory
    // is read sequentially, so that the processor prefetches.
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
                if (first + i + 1 < pixels) pixel += s.pixel();  // beyond the end, repeat the last one
            }
            for (int b = 0; b < BRANCHES; b++) {
                Floats mean = row_sums(sums[b]) * per_channel;
                Floats variance = row_sums(squares[b]) * per_channel - mean * mean;
                Ints inaccurate = ~(variance >= mean * mean * (PRECISE ? 0.1f : 1e-3f));  // NaN where a square overflows
                if (PRECISE && s.channels() <= FEW) inaccurate = inaccurate | -1;
                if (any(inaccurate)) {
                    Floats exact_mean = mean;
                    Floats exact = two_pass_variance(start + b * s.channels(), pixels - first, exact_mean, s);
                    variance = inaccurate ? exact : variance;  // per pixel, so that results do not depend on neighbours
                    mean = inaccurate ? exact_mean : mean;
                }
                Floats scale = inverse_root(variance + s.epsilon);
                // Kept to 16 bits, so that its product with a bfloat16 is exact and equal channels normalise to 0.
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
    // The mean of squares minus the squared mean loses precision if the mean is far from zero. This two-pass form does
    // not. It also corrects the mean by the sum of the differences, so that equal channels have a variance of 0.
    static __attribute__((noinline)) Floats two_pass_variance(const Element* row, int pixels, Floats& mean,
                                                                      const Sizes& s) {
        Floats sums[LANES] = {}, squares[LANES] = {};
        for (int i = 0; i < std::min(pixels, LANES); i++)
            for_channels(s.channels(), [&](int c, auto count) {
                Floats difference = mask_lanes(load(row + i * s.pixel() + c, count) - mean[i], count);
                sums[i] += difference;
                squares[i] += difference * difference;
            });
        Floats off = row_sums(sums) / float(s.channels());
        mean += off;
        return row_sums(squares) / float(s.channels()) - off * off;
    }
};

// Gradients of scale and bias, [branch, padded channel] each: short sums in float, long sums in double.
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
    // Writes this thread's sums as [scales or biases, branch, channel].
    void write(double* out, const Sizes& s) const {
        for (int b = 0; b < BRANCHES; b++)
            for (int c = 0; c < s.channels(); c++) {
                out[b * s.channels() + c] = scale_totals[b * stride + c];
                out[(BRANCHES + b) * s.channels() + c] = bias_totals[b * stride + c];
            }
    }
};

// Backward pass of the norm for LANES pixels of a branch. `norm_backward_terms` computes a slope and an offset per pixel
// from the sums of the gradient and of gradient * normalised; `norm_correction` applies them to each channel.
INLINE void norm_backward_terms(Floats scale, Floats shift, Floats gradient_sum, Floats product_sum, float per_channel,
                   float* slope, float* offset) {
    Floats mean = gradient_sum * per_channel, along = product_sum * per_channel;
    store(slope, -scale * scale * along);
    store(offset, PRECISE ? -scale * mean : -scale * (mean + shift * along));
}
INLINE Floats norm_correction(Floats x, float shift, float slope, float offset) {
    return PRECISE ? (x + shift) * slope + offset : x * slope + offset;
}
