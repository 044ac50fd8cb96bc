// Fourier transforms of 24 numbers, for a vector of them at a time.
#pragma once
#include "memory.h"

constexpr int SIDE = 24;

// A vector of complex numbers: real parts, then imaginary parts, also in memory.
struct Complex {
    Floats re, im;
};
constexpr int COMPLEX = 2 * LANES;
INLINE Complex load_complex(const float* memory) { return {load(memory), load(memory + LANES)}; }
INLINE void store_complex(float* memory, Complex x) {
    store(memory, x.re);
    store(memory + LANES, x.im);
}
INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
INLINE Complex operator*(Floats a, Complex b) { return {a * b.re, a * b.im}; }
INLINE Complex times_i(Complex x) { return {-x.im, x.re}; }

// y[k] = x[0] + x[1] i^k + x[2] i^2k + x[3] i^3k
INLINE void transform_4(Complex x0, Complex x1, Complex x2, Complex x3, Complex* y) {
    const Complex even = x0 + x2, odd = x1 + x3, evens = x0 - x2, odds = times_i(x1 - x3);
    y[0] = even + odd, y[1] = evens + odds, y[2] = even - odd, y[3] = evens - odds;
}

// Reads x(n) and calls put(k, sum over n of x(n) exp(2 pi i n k / 24)): eight transforms of 3 numbers, then three of 8.
// Since 3 and 8 are coprime, no twiddle factors are needed between the two (Good, "The interaction algorithm and practical
// Fourier analysis", 1958): n = 8 a + 3 b and k = 16 c + 9 d give
// exp(2 pi i n k / 24) = exp(2 pi i a c / 3) exp(2 pi i b d / 8).
template <class From, class Put>
INLINE void transform(From x, Put put) {
    const Floats half = splat(0.5f), high = splat(0.866025403784438647f), diagonal = splat(0.707106781186547524f);
    Complex thirds[3][8];
#pragma GCC unroll 8
    for (int b = 0; b < 8; b++) {
        const Complex first = x(3 * b % SIDE), second = x((8 + 3 * b) % SIDE), third = x((16 + 3 * b) % SIDE);
        const Complex sum = second + third, across = times_i(high * (second - third)), middle = first - half * sum;
        thirds[0][b] = first + sum, thirds[1][b] = middle + across, thirds[2][b] = middle - across;
    }
#pragma GCC unroll 3
    for (int c = 0; c < 3; c++) {
        const Complex* of = thirds[c];
        Complex even[4], odd[4];
        transform_4(of[0], of[2], of[4], of[6], even);
        transform_4(of[1], of[3], of[5], of[7], odd);
        odd[1] = diagonal * (odd[1] + times_i(odd[1]));
        odd[2] = times_i(odd[2]);
        odd[3] = diagonal * (times_i(odd[3]) - odd[3]);
#pragma GCC unroll 4
        for (int d = 0; d < 4; d++) {
            put((16 * c + 9 * d) % SIDE, even[d] + odd[d]);
            put((16 * c + 9 * (d + 4)) % SIDE, even[d] - odd[d]);
        }
    }
}

// Two rows of real numbers are transformed together, as real and imaginary part of one row. Of a real row's transform only
// the first HALF + 1 numbers are needed, since the others are their conjugates.
constexpr int HALF = SIDE / 2;

// Reads x(n), the numbers of two rows, and calls put(k, one transform, the other) for k up to HALF, both doubled.
template <class From, class Put>
INLINE void transform_rows(From x, Put put) {
    Floats re[SIDE], im[SIDE];  // separate arrays: compilers copy pairs inefficiently
    transform(x, [&](int k, Complex y) { re[k] = y.re, im[k] = y.im; });
#pragma GCC unroll 16
    for (int k = 0; k <= HALF; k++) {
        const int minus = (SIDE - k) % SIDE;
        put(k, Complex{re[k] + re[minus], im[k] - im[minus]}, Complex{im[k] + im[minus], re[minus] - re[k]});
    }
}

// Inverse: reads one(k) and other(k) for k up to HALF and calls put(n, one row's number, the other's).
template <class One, class Other, class Put>
INLINE void transform_back(One one, Other other, Put put) {
    transform(
        [&](int k) {
            const Complex a = one(k <= HALF ? k : SIDE - k), b = other(k <= HALF ? k : SIDE - k);
            return k <= HALF ? Complex{a.re - b.im, a.im + b.re} : Complex{a.re + b.im, b.re - a.im};
        },
        [&](int n, Complex y) { put(n, y.re, y.im); });
}
