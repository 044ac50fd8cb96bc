// Loads and stores of vectors: floats, bfloat16 (rounded to nearest even), bytes.
#pragma once
#include "vector.h"

template <class To, class From>
INLINE To bits_of(const From* memory, Whole) {
    To raw;
    memcpy(&raw, memory, sizeof raw);
    return raw;
}

template <class To, class From>
INLINE To bits_of(const From* memory, Part part) {
    From padded[LANES] = {};
    for (int lane = 0; lane < part.lanes; lane++) padded[lane] = memory[lane];
    return bits_of<To>(padded, Whole{});
}

template <class From, class To>
INLINE void put_bits(To* memory, From raw, Whole) {
    memcpy(memory, &raw, sizeof raw);
}

template <class From, class To>
INLINE void put_bits(To* memory, From raw, Part part) {
    To padded[LANES];
    memcpy(padded, &raw, sizeof raw);
    for (int lane = 0; lane < part.lanes; lane++) memory[lane] = padded[lane];
}

INLINE Floats widen(Floats raw) { return raw; }
INLINE Floats widen(Halves raw) {
#ifdef HADAMAX_AVX512
    return (Floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)raw), 16);
#else
    return (Floats)(__builtin_convertvector(raw, Words) << 16);
#endif
}

INLINE Halves round_to_bfloat16(Floats x) {
#if defined(HADAMAX_AVX512) && defined(__AVX512BF16__)
    return (Halves)_mm512_cvtneps_pbh((__m512)x);
#else
    Words bits = (Words)x;
    Words nearest_even = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    Words not_a_number = Words{} + 0x7fc0u;
    return __builtin_convertvector((Words)(x == x ? (Ints)nearest_even : (Ints)not_a_number), Halves);
#endif
}

// Types of elements in memory: `Raw` is a vector of them, `Mask` an integer vector of the same width, `Lane` one integer.
template <class Element>
struct Stored;
template <>
struct Stored<float> {
    typedef Floats Raw;
    typedef Ints Mask;
    typedef int32_t Lane;
};
template <>
struct Stored<bfloat16> {
    typedef Halves Raw;
    typedef Shorts Mask;
    typedef int16_t Lane;
};

template <class Element, class Count>
INLINE typename Stored<Element>::Raw load_raw(const Element* memory, Count count) {
    return bits_of<typename Stored<Element>::Raw>(memory, count);
}
template <class Element, class Count>
INLINE Floats load(const Element* memory, Count count) {
    return widen(load_raw(memory, count));
}
INLINE Floats load(const float* memory) { return load(memory, Whole{}); }

template <class Count>
INLINE void store(float* memory, Floats x, Count count) {
    put_bits(memory, x, count);
}
template <class Count>
INLINE void store(bfloat16* memory, Floats x, Count count) {
    put_bits(memory, round_to_bfloat16(x), count);
}
INLINE void store(float* memory, Floats x) { store(memory, x, Whole{}); }

// Stores past the caches, which avoids fetching the overwritten lines. Vectors must be whole and aligned; call `end_stream`
// before another thread reads.
template <class Element>
INLINE void stream(Element* memory, Floats x) {
#ifdef HADAMAX_AVX512
    if constexpr (sizeof(Element) == 4)
        _mm512_stream_ps((float*)memory, (__m512)x);
    else
        _mm256_stream_si256((__m256i*)memory, (__m256i)round_to_bfloat16(x));
#else
    store(memory, x, Whole{});
#endif
}
INLINE void end_stream() {
#ifdef HADAMAX_AVX512
    _mm_sfence();
#endif
}

// Small integers, as bytes in memory and as lanes of a mask.
INLINE Ints widen(Bytes raw) {
#ifdef HADAMAX_AVX512
    return (Ints)_mm512_cvtepu8_epi32((__m128i)raw);
#elif defined(HADAMAX_AVX2)
    return (Ints)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)raw));
#else
    return __builtin_convertvector(raw, Ints);
#endif
}
INLINE Shorts as_mask(Ints x, Halves) {
#ifdef HADAMAX_AVX512
    return (Shorts)_mm512_cvtepi32_epi16((__m512i)x);
#else
    return __builtin_convertvector(x, Shorts);
#endif
}
INLINE Ints as_mask(Ints x, Floats) { return x; }

template <class Count>
INLINE Ints load_bytes(const uint8_t* memory, Count count) {
    return widen(bits_of<Bytes>(memory, count));
}
INLINE Bytes to_bytes(Ints x) {
#if defined(HADAMAX_AVX512)
    return (Bytes)_mm512_cvtepi32_epi8((__m512i)x);
#elif defined(HADAMAX_AVX2)
    const __m256i lowest = _mm256_set1_epi32(0x0c080400);  // the lowest bytes of each half, moved to its first four
    const __m256i packed = _mm256_shuffle_epi8((__m256i)x, lowest);
    return (Bytes)_mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4))[0];
#else
    return __builtin_convertvector(x, Bytes);
#endif
}
template <class Count>
INLINE void store_bytes(uint8_t* memory, Ints x, Count count) {
    put_bits(memory, to_bytes(x), count);
}
