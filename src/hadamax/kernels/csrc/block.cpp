// The fused Hadamax block behind a plain C interface: pointers and sizes, no PyTorch headers.
//
// Compiled once for each kind of block, chosen by macros:
//   HADAMAX_ELEMENT      float or bfloat16
//   HADAMAX_ACTIVATIONS  one for each branch, as in Tanh<PRECISE>, Relu<PRECISE>
//   HADAMAX_SUM          0: the branches' product; 1: their sum
//   HADAMAX_NORM         0 or 1: normalise each branch over its channels first
//   HADAMAX_CHANNELS, HADAMAX_WINDOW, HADAMAX_STRIDE   the only ones it is for, or 0 for any
#if defined(__GNUC__) && !defined(__clang__)
// The two branches' instructions, and those of pixels that are written out, side by side: each of them waits long for the
// one before it.
#pragma GCC optimize("schedule-insns")
#endif
#include "overlaps.h"
#include "windows.h"
#include "winners.h"

extern "C" {

// Both give 0 where memory ended, and have then done nothing that counts.

// y, positions: [image, pooled row, pooled column, channel]; weight and bias [branch, channel] or null.
int32_t hadamax_forward(const Sizes* sizes, const Element* x, const float* weight, const float* bias, Element* y,
                        uint8_t* positions) {
    return done([&] {
        Affine affine(*sizes, weight, bias);
        if (sizes->overlaps())
            forward_overlaps(*sizes, x, affine, y, positions);
        else
            forward_windows(*sizes, x, affine, y, positions);
    });
}

// dx as x; to_affine [thread, weight or bias, branch, channel], zeros on entry.
int32_t hadamax_backward(const Sizes* sizes, const Element* x, const float* weight, const float* bias,
                         const Element* dy, const uint8_t* positions, Element* dx, double* to_affine) {
    return done([&] {
        Affine affine(*sizes, weight, bias);
        if (sizes->overlaps() || sizes->window() == 1)
            backward_pixels(*sizes, x, affine, dy, positions, dx, to_affine);
        else
            backward_windows(*sizes, x, affine, dy, positions, dx, to_affine);
    });
}
}
