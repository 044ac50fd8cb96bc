// Vectors of floats in the widest registers of the target (AVX-512, AVX2 or 128 bit). The compiler's vector types do the
// arithmetic; instructions that it would not choose are behind #if.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <immintrin.h>
#define HADAMAX_AVX512 1
constexpr int LANES = 16;
#elif defined(__AVX2__)
#include <immintrin.h>
#define HADAMAX_AVX2 1
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

#define INLINED inline __attribute__((always_inline))  // for member functions
#define INLINE static INLINED

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
typedef int16_t Shorts __attribute__((vector_size(2 * LANES)));
typedef uint8_t Bytes __attribute__((vector_size(LANES)));

struct bfloat16 {
    uint16_t bits;
};

// By an integer operation: adding a float zero must not be optimised away.
INLINE Floats splat(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (Floats)(Words{} + bits);
}

// `Whole` and `Part` state how many lanes of a vector exist in memory, so that any number of channels works. A loop body
// that takes either is compiled twice, and only the last vector of a row pays for being incomplete.

struct Whole {};
struct Part {
    int lanes;
};

// Sets lanes that do not exist to zero.
INLINE Floats mask_lanes(Floats x, Whole) { return x; }
INLINE Floats mask_lanes(Floats x, Part part) {
    Ints lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane < part.lanes ? x : Floats{};
}

// Calls body(first channel, Whole or Part) for each vector of a row of channels.
template <class Body>
INLINE void for_channels(int channels, Body body) {
    int c = 0;
    for (; c + LANES <= channels; c += LANES) body(c, Whole{});
    if (c < channels) body(c, Part{channels - c});
}
