// RAdam on the CPU: reads every parameter, gradient and moment once and clips the gradient in the same pass.
#include <algorithm>
#include <cstddef>

#include "memory.h"
#include "arithmetic.h"

constexpr int64_t BLOCK = 1 << 15;  // elements per unit of work

// Numbers of one step, computed in double by the caller.
struct Step {
    float clip;                // multiplies the gradients
    float new1, new2;          // 1 - beta1, 1 - beta2: weights of the new gradient in the moments
    float beta2;
    float rate;                // learning rate / (1 - beta1^t), times the rectification if it applies
    float root_bias2;          // sqrt(1 - beta2^t)
    float epsilon;
    int32_t rectified;         // 0: too few steps for the variance; take a momentum step
    int32_t threads;
};

template <class Count>
INLINE void update(float* p, const float* g, float* m, float* v, const Step& s, Count count) {
    Floats gradient = load(g, count) * s.clip;
    Floats first = load(m, count);
    first += (gradient - first) * s.new1;
    Floats second = load(v, count) * s.beta2 + gradient * gradient * s.new2;
    store(m, first, count);
    store(v, second, count);
    Floats change = first * s.rate;
    if (s.rectified) {
        Floats positive = second < 1e-36f ? splat(1e-36f) : second;  // its root is negligible beside epsilon; propagates NaN
        Floats root = positive * inverse_root(positive);
        change *= s.root_bias2 * reciprocal(root + s.epsilon);
        change = second == second ? change : second;
    }
    store(p, load(p, count) - change, count);
}

extern "C" {

// Sum of squares; does not depend on the number of threads.
double hadamax_squares(const float* x, int64_t n, int32_t threads) {
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    double* sums = new double[blocks];
#pragma omp parallel for num_threads(threads) schedule(static) if (blocks > 1)
    for (int64_t block = 0; block < blocks; block++) {
        const float* from = x + block * BLOCK;
        const int length = int(std::min(BLOCK, n - block * BLOCK));
        double total = 0;
        for (int start = 0; start < length; start += 1024) {  // short sums in float, long sums in double
            Floats squares = {};
            for_channels(std::min(1024, length - start), [&](int i, auto count) {
                Floats value = load(from + start + i, count);
                squares += value * value;
            });
            float lanes[LANES];
            store(lanes, squares);
            for (float lane : lanes) total += lane;
        }
        sums[block] = total;
    }
    double total = 0;
    for (int64_t block = 0; block < blocks; block++) total += sums[block];
    delete[] sums;
    return total;
}

void hadamax_radam(float* p, const float* g, float* m, float* v, int64_t n, const Step* step) {
    const Step s = *step;
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(s.threads) schedule(static) if (blocks > 1)
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t at = block * BLOCK;
        for_channels(int(std::min(BLOCK, n - at)),
                     [&](int i, auto count) { update(p + at + i, g + at + i, m + at + i, v + at + i, s, count); });
    }
}
}
