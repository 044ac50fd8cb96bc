// Activations as value and slope, and their product (or sum) over the branches. Most are a fraction whose denominator is
// 1 + an exponential, so a product of such branches needs one division instead of two.
#pragma once
#include <tuple>

#include "arithmetic.h"

struct Fraction {
    Floats numerator, denominator;
};
struct Curve {
    Floats value, slope;
};

constexpr float LOG2_E = 1.44269504088896341f;

template <bool precise>
INLINE Floats exponential(Floats x) {
    return exp2<precise>(x * LOG2_E);
}

template <bool precise>
struct Identity {
    static constexpr bool divides = false;
    INLINE Fraction fraction(Floats x) { return {x, splat(1)}; }
    INLINE Curve curve(Floats x) { return {x, splat(1)}; }
};

template <bool precise>
struct Relu {
    static constexpr bool divides = false;
    INLINE Fraction fraction(Floats x) { return {x < 0.0f ? Floats{} : x, splat(1)}; }  // NaN stays
    INLINE Curve curve(Floats x) { return {x < 0.0f ? Floats{} : x, x <= 0.0f ? Floats{} : splat(1)}; }
};

template <bool precise>
struct Sigmoid {
    static constexpr bool divides = true;
    INLINE Fraction fraction(Floats x) { return {one_or_nan(x), 1.0f + exponential<precise>(-x)}; }
    INLINE Curve curve(Floats x) {
        Fraction f = fraction(x);
        Floats s = f.numerator * reciprocal(f.denominator);
        return {s, s * (1.0f - s)};
    }

  private:
    INLINE Floats one_or_nan(Floats x) { return x == x ? splat(1) : x; }
};

template <bool precise>
struct Silu {
    static constexpr bool divides = true;
    INLINE Fraction fraction(Floats x) { return {x, 1.0f + exponential<precise>(-x)}; }
    INLINE Curve curve(Floats x) {
        Floats s = reciprocal(1.0f + exponential<precise>(-x));
        Floats value = x * s;
        return {value, s + value * (1.0f - s)};
    }
};

// x/2 (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x^3), which is x / (1 + e^-2u).
template <bool precise>
struct GeluTanh {
    static constexpr bool divides = true;
    static constexpr float ROOT = 0.7978845608028654f, CUBIC = 0.044715f;
    INLINE Floats one_plus_exp(Floats x) {
        return 1.0f + exp2<precise>(x * (x * x * (-2 * ROOT * CUBIC * LOG2_E) + (-2 * ROOT * LOG2_E)));
    }
    INLINE Fraction fraction(Floats x) { return {x, one_plus_exp(x)}; }
    INLINE Curve curve(Floats x) {
        Floats s = reciprocal(one_plus_exp(x));
        Floats value = x * s;
        Floats square = smaller(x * x, 1e4f);  // beyond it s (1 - s) is 0, and 0 times infinity would be NaN
        return {value, s + value * (1.0f - s) * (2 * ROOT + square * (6 * ROOT * CUBIC))};
    }
};

// x times the normal distribution function; its tail is Abramowitz and Stegun 7.1.26, with an error of 1e-7.
template <bool precise>
struct Gelu {
    static constexpr bool divides = false;
    INLINE Floats distribution(Floats x, Floats bell) {
        Floats t = reciprocal(magnitude(x) * (0.3275911f * 0.70710678f) + 1.0f);
        Floats p = (t * 1.061405429f - 1.453152027f) * t + 1.421413741f;
        Floats tail = ((p * t - 0.284496736f) * t + 0.254829592f) * t * bell * 0.5f;
        return x < 0.0f ? tail : 1.0f - tail;
    }
    INLINE Floats bell(Floats x) { return exp2<precise>(x * x * (-0.5f * LOG2_E)); }
    INLINE Fraction fraction(Floats x) { return {x * distribution(x, bell(x)), splat(1)}; }
    INLINE Curve curve(Floats x) {
        Floats b = bell(x), area = distribution(x, b);
        Floats finite = x < -1e4f ? splat(-1e4f) : smaller(x, 1e4f);  // avoids infinity times 0
        return {x * area, area + finite * b * 0.3989422804014327f};
    }
};

// (1 - e) / (1 + e) with e = e^-2|x|; near zero a polynomial, because the difference loses precision there.
template <bool precise>
struct Tanh {
    static constexpr bool divides = false;
    INLINE Floats value(Floats x) {
        Floats size = magnitude(x);
        Floats e = exp2<precise>(size * (-2 * LOG2_E));
        Floats far = (1.0f - e) * reciprocal(1.0f + e);
        Floats signed_far = (Floats)((Ints)far | ((Ints)x & (int32_t)0x80000000));
        Floats s = x * x;
        Floats p = (s * -5.70498872745e-3f + 2.06390887954e-2f) * s - 5.37397155531e-2f;
        p = (p * s + 1.33314422036e-1f) * s - 3.33332819422e-1f;
        Floats near = x + x * s * p;
        return size >= 0.625f ? signed_far : near;  // NaN takes `near`, which propagates it
    }
    INLINE Fraction fraction(Floats x) { return {value(x), splat(1)}; }
    INLINE Curve curve(Floats x) {
        Floats t = value(x);
        return {t, 1.0f - t * t};
    }
};

// Everything after the norm, over all branches: the combined value, and its gradient with respect to each branch.
template <bool precise, bool sums, class... Activation>
struct Combined {
    static constexpr int branches = sizeof...(Activation);

    INLINE Floats value(const Floats* x) { return value(x, std::index_sequence_for<Activation...>{}); }

    // From the output's gradient g to the gradient of each branch's input.
    INLINE void gradient(const Floats* x, Floats g, Floats* to_branch) {
        gradient(x, g, to_branch, std::index_sequence_for<Activation...>{});
    }

  private:
    template <size_t... I>
    INLINE Floats value(const Floats* x, std::index_sequence<I...>) {
        Fraction f[] = {Activation::fraction(x[I])...};
        constexpr bool divides[] = {Activation::divides...};
        Floats result;
        if constexpr (sums) {
            result = Floats{};
            for (int b = 0; b < branches; b++)
                result += divides[b] ? f[b].numerator * quick_reciprocal<precise>(f[b].denominator)
                                     : f[b].numerator;
        } else {
            result = f[0].numerator;
            if constexpr ((Activation::divides || ...)) {
                Floats denominator = f[0].denominator;
                for (int b = 1; b < branches; b++) denominator *= f[b].denominator;
                // Before the other numerators, whose product may overflow although the result does not.
                result *= quick_reciprocal<precise>(denominator);
            }
            for (int b = 1; b < branches; b++) result *= f[b].numerator;
        }
        return result;
    }

    template <size_t... I>
    INLINE void gradient(const Floats* x, Floats g, Floats* to_branch, std::index_sequence<I...>) {
        Curve at[] = {Activation::curve(x[I])...};
        for (int b = 0; b < branches; b++) {
            to_branch[b] = g * at[b].slope;
            for (int other = 0; other < branches; other++)
                if (!sums && other != b) to_branch[b] *= at[other].value;
        }
    }
};
