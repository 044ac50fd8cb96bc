// Arithmetic of activations and norms, and sums across the lanes of a vector.
#pragma once
#include "memory.h"

// min(x, limit), which propagates NaN.
INLINE Floats smaller(Floats x, float limit) {
#ifdef HADAMAX_AVX2
    return (Floats)_mm256_min_ps((__m256)splat(limit), (__m256)x);
#else
    return x > limit ? splat(limit) : x;
#endif
}

// x clipped to [low, high], low negative and high positive; NaN may be lost. Floats of one sign are ordered like integers
// (or reversed), and integer comparisons run on twice as many execution units.
INLINE Floats between(Floats x, float low, float high) {
#ifdef HADAMAX_AVX2
    const __m256i below = _mm256_min_epi32((__m256i)x, (__m256i)splat(high));
    return (Floats)_mm256_min_epu32(below, (__m256i)splat(low));
#else
    x = x > high ? splat(high) : x;
    return x < low ? splat(low) : x;
#endif
}
INLINE Floats magnitude(Floats x) { return (Floats)((Ints)x & 0x7fffffff); }

// 1/x to about one unit in the last place; 1/inf is 0. NaN may be lost: callers multiply by the value that was NaN.
INLINE Floats reciprocal(Floats x) {
#ifdef HADAMAX_AVX512
    __m512 guess = _mm512_rcp14_ps((__m512)x);
    __mmask16 finite = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(8e37f), _CMP_LT_OQ);
    __m512 step = _mm512_fnmadd_ps((__m512)x, guess, _mm512_set1_ps(2.0f));
    return (Floats)_mm512_maskz_mul_ps(finite, guess, step);
#else
    return 1.0f / x;
#endif
}

// As `reciprocal`, or to 14 bits: has_memory for a value rounded to bfloat16's 8 bits, not for sums over many gradients.
template <bool precise>
INLINE Floats quick_reciprocal(Floats x) {
#ifdef HADAMAX_AVX512
    if (!precise) return (Floats)_mm512_rcp14_ps((__m512)x);
#endif
    return reciprocal(x);
}

// 1/sqrt(x) of a positive x, to about one unit in the last place; 1/sqrt(inf) is 0.
INLINE Floats inverse_root(Floats x) {
#ifdef HADAMAX_AVX512
    Floats guess = (Floats)_mm512_rsqrt14_ps((__m512)x);
    return x < INFINITY ? guess * (1.5f - 0.5f * x * guess * guess) : guess;
#else
    float lanes[LANES];
    store(lanes, x);
    for (int i = 0; i < LANES; i++) lanes[i] = 1.0f / std::sqrt(lanes[i]);
    return load(lanes);
#endif
}

// 2^x, with overflow to inf and underflow to 0. NaN may be lost: callers multiply by the value that was NaN. Evaluates a
// polynomial of the fraction, of relative error 1e-7, or 1e-4 for bfloat16.
template <bool precise>
INLINE Floats exp2(Floats x) {
#ifdef HADAMAX_AVX512
    Floats f = (Floats)_mm512_reduce_ps((__m512)x, 0x09);  // x - floor(x)
    Floats p;
    if (precise) {
        p = (f * 1.87757667e-3f + 8.98934009e-3f) * f + 5.58263180e-2f;
        p = ((p * f + 2.40153617e-1f) * f + 6.93153073e-1f) * f + 9.99999925e-1f;
    } else {
        p = ((f * 7.80245200e-2f + 2.26067160e-1f) * f + 6.95833540e-1f) * f + 9.99925220e-1f;
    }
    return (Floats)_mm512_scalef_ps((__m512)p, (__m512)x);  // p * 2^floor(x)
#else
    x = between(x, -127.0f, 128.0f);
    const Floats whole = x + 12582912.0f;  // 1.5 * 2^23: the nearest whole number, in the last bits
    const Floats f = x - (whole - 12582912.0f);
    Floats p;  // exactly 1 at 0, so that 128 gives inf and -127 gives 0
    if (precise) {
        p = (f * 1.32647272e-3f + 9.67151264e-3f) * f + 5.55073374e-2f;
        p = ((p * f + 2.40222421e-1f) * f + 6.93146978e-1f) * f + 1.0f;
    } else {
        p = ((f * 5.50089311e-2f + 2.42210959e-1f) * f + 6.93282927e-1f) * f + 1.0f;
    }
    return (Floats)((Ints)p + ((Ints)whole << 23));
#endif
}

INLINE bool any(Ints mask) {
#ifdef HADAMAX_AVX512
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(HADAMAX_AVX2)
    return _mm256_movemask_ps((__m256)mask) != 0;
#else
    int32_t found = 0;
    for (int i = 0; i < LANES; i++) found |= mask[i];
    return found != 0;
#endif
}

// [a0+a1, a2+a3, ..., b0+b1, ...]; separately for each half of the lanes where registers consist of two halves.
template <int... I>
INLINE Floats pair_sums(Floats a, Floats b, std::integer_sequence<int, I...>) {
#ifdef HADAMAX_AVX2
    return (Floats)(_mm256_shuffle_ps((__m256)a, (__m256)b, 0x88) + _mm256_shuffle_ps((__m256)a, (__m256)b, 0xdd));
#elif defined(__clang__)
    return __builtin_shufflevector(a, b, (2 * I)...) + __builtin_shufflevector(a, b, (2 * I + 1)...);
#else
    return __builtin_shuffle(a, b, Ints{(2 * I)...}) + __builtin_shuffle(a, b, Ints{(2 * I + 1)...});
#endif
}

// Lane i of the result is the sum over the lanes of rows[i].
template <int count = LANES>
INLINE Floats row_sums(const Floats* rows) {
    if constexpr (count == 1)
        return rows[0];
    else {
        Floats halved[count / 2];
        for (int i = 0; i < count / 2; i++)
            halved[i] = pair_sums(rows[2 * i], rows[2 * i + 1], std::make_integer_sequence<int, LANES>{});
#ifdef HADAMAX_AVX2
        if constexpr (count == 4) {
            const __m256 a = (__m256)halved[0], b = (__m256)halved[1];
            return (Floats)(_mm256_permute2f128_ps(a, b, 0x20) + _mm256_permute2f128_ps(a, b, 0x31));
        }
#endif
        return row_sums<count / 2>(halved);
    }
}

// table[index[i]] in each lane; the table has `entries` entries and at least LANES readable floats.
INLINE Floats lookup(const float* table, Ints index, int entries) {
#ifdef HADAMAX_AVX512
    if (entries <= LANES) return (Floats)_mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(table));
#elif defined(HADAMAX_AVX2)
    if (entries <= 2 * LANES) {
        __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)index);
        if (entries <= LANES) return (Floats)low;
        __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + LANES), (__m256i)index);
        return index < LANES ? (Floats)low : (Floats)high;
    }
#endif
    (void)entries;
    Floats found;
    for (int i = 0; i < LANES; i++) found[i] = table[index[i]];
    return found;
}
