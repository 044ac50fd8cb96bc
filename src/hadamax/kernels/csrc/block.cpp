// The fused Hadamax block behind a plain C interface: pointers and sizes, no PyTorch headers.
//
// Compiled once per kind of block, selected by macros:
//   HADAMAX_ELEMENT      float or bfloat16
//   HADAMAX_ACTIVATIONS  one for each branch, as in Tanh<PRECISE>, Relu<PRECISE>
//   HADAMAX_SUM          0: the branches' product; 1: their sum
//   HADAMAX_NORM         0 or 1: normalise each branch over its channels first
//   HADAMAX_CHANNELS, HADAMAX_WINDOW, HADAMAX_STRIDE   compile-time constants, or 0 for any value
#if defined(__GNUC__) && !defined(__clang__)
// Interleaves the instructions of branches and of unrolled pixels, whose dependency chains are long.
#pragma GCC optimize("schedule-insns")
#endif
#include "overlapping_windows.h"
#include "windows_forward.h"
#include "windows_backward.h"

extern "C" {

// Both return 0 if memory could not be allocated; the outputs are then undefined.

// y, positions: [image, pooled row, pooled column, channel]; weight and bias: [branch, channel] or null.
int32_t hadamax_forward(const Sizes* sizes, const Element* x, const float* weight, const float* bias, Element* y,
                        uint8_t* positions) {
    return returns_success([&] {
        Affine affine(*sizes, weight, bias);
        if (sizes->overlaps())
            forward_overlaps(*sizes, x, affine, y, positions);
        else
            forward_windows(*sizes, x, affine, y, positions);
    });
}

// dx is laid out as x; to_affine: [thread, weight or bias, branch, channel], zeros on entry.
int32_t hadamax_backward(const Sizes* sizes, const Element* x, const float* weight, const float* bias,
                         const Element* dy, const uint8_t* positions, Element* dx, double* to_affine) {
    return returns_success([&] {
        Affine affine(*sizes, weight, bias);
        if (sizes->overlaps() || sizes->window() == 1)
            backward_pixels(*sizes, x, affine, dy, positions, dx, to_affine);
        else
            backward_windows(*sizes, x, affine, dy, positions, dx, to_affine);
    });
}
}
